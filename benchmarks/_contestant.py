"""The process of one contestant in one round: does its job and prints what it found."""

from __future__ import annotations

import sys

import msgspec

from .contest import Job, Order, load, stay_on


def main() -> None:
    """Follow the order in the first argument."""
    order = msgspec.json.decode(sys.argv[1], type=Order)
    stay_on(order.cores)
    (case,) = [case for case in load(order.benchmark).cases if case.name == order.case]
    (contestant,) = [contestant for contestant in case.contestants if contestant.name == order.contestant]
    measurement = contestant.run(Job(order.base_url, case.page, order.requests, order.warm_up, case.concurrency))
    print(msgspec.json.encode(measurement).decode())


if __name__ == "__main__":
    main()
