"""Runs checks one after the other, says how each went, and counts as tests/run reads it."""
from __future__ import annotations

import traceback


class Skip(Exception):
    """It cannot be tried here."""


def run(checks, *args, told=(AssertionError,)) -> int:
    """Calls each check with `args`; the exit code. Errors that are not `told` come with their trace."""
    passed = failed = 0
    for check in checks:
        try:
            check(*args)
            passed += 1
            print(f"pass  {check.__name__}")
        except Skip as e:
            print(f"skip  {check.__name__}: {e}")
        except Exception as e:
            failed += 1
            print(f"FAIL  {check.__name__}: {type(e).__name__}: {e}")
            if not isinstance(e, told):
                traceback.print_exc()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0
