"""The API by group: each file holds a group's endpoints beside the Structs that they return."""
