"""A labeler in a process of its own: leases and answers until nothing is left, and says so only after the receipt.

Run as `python answering_child.py LABELS_DB NAME`. Prints `QUERY_ID CLIENT_UUID` for each acknowledged answer.
"""

from __future__ import annotations

import sys

from pairplay.labels.store import LabelStore


def main(path: str, name: str) -> None:
    with LabelStore.open(path) as store:
        labeler_id = store.labeler(name, "synthetic")
        while leased := store.lease(labeler_id):
            receipt = store.answer(labeler_id, leased[0].id, "left", client_uuid=f"{name}-{leased[0].id}")
            sys.stdout.write(f"{receipt.query_id} {receipt.client_uuid}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
