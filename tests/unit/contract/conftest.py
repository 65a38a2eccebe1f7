"""Makes this folder's helper `contract_pngs` importable; nothing of the contract is replaced in these tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
