"""Any reasonable body of a value: an independent opinion on how a server might write what the SDK reads.

instances   values of every response type, from the annotations alone
shape       the ways of writing them, as tables of named choices, and which compositions nobody could read
writing     a value in a shape, as a reply
leaves      what a body says and what a result holds, so that nothing is lost and nothing is invented

Nothing here imports the decoder, its names or the sandbox's personalities: two opinions that share a table agree also
where both are wrong.
"""
