"""`recon3d-runner` whose Supervisor starts engine_child.py instead of the worker. Not a test."""

import sys
from pathlib import Path

from recon3d_runner.cli import main
from recon3d_runner.supervisor import Supervisor

Supervisor.__init__.__kwdefaults__["command"] = (sys.executable, str(Path(__file__).with_name("engine_child.py")))

if __name__ == "__main__":
    sys.exit(main())
