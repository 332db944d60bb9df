"""A small GPU market on loopback: a provider's HTTP dialect, machines that answer SSH, a billing meter, faults.

It imports nothing of the rest of the project, so that it cannot share a mistake with the adapters that it judges.
`cli` starts it, `control` lists what can be made to go wrong.
"""
