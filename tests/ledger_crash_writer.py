"""A writer to be killed: appends numbered drafts, says what was acknowledged, dies where told.

Run as ``python ledger_crash_writer.py FOLDER TOTAL BATCH POINT HIT``: at the HIT-th time that
POINT is reached the process kills itself. A line ``size root`` follows every acknowledgement.
"""

import os
import signal
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from ledger_logs import ORIGIN, drafts, ticking  # noqa: E402 - needs the path above

from ledger.writer import LedgerWriter  # noqa: E402 - same


def main() -> None:
    folder, total, batch, deadly, hits = sys.argv[1:]
    left = {deadly: int(hits)}

    def die_there(point: str) -> None:
        if point in left:
            left[point] -= 1
            if not left[point]:
                os.kill(os.getpid(), signal.SIGKILL)

    with LedgerWriter(Path(folder), ORIGIN, ticking(), on_point=die_there) as log:
        for start in range(0, int(total), int(batch)):
            log.append(drafts(min(int(batch), int(total) - start), start=start))
            sys.stdout.write("{} {}\n".format(*log.head))
            sys.stdout.flush()
            if start // int(batch) % 3 == 1:
                log.flush()


if __name__ == "__main__":
    main()
