"""The one contract that the runner, the operator and the REST shim share; it imports none of them."""
