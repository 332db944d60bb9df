"""What a notebook shows of an error, by IPython's own protocol."""

from __future__ import annotations

import pytest

from gpuplug.errors import RemoteError, UnreachableError

BILLS = "#7 still bills $0.35/h"


@pytest.mark.parametrize("traceback", [(), ("Traceback (most recent call last):", "KernelDied: signal 9")])
def test_what_still_bills_and_what_to_type_are_shown_once(traceback: tuple[str, ...]) -> None:
    error = RemoteError("KernelDied", "signal 9", traceback)
    error.billing, error.hint = BILLS, "%gpu down"
    shown = "\n".join(error._render_traceback_())
    assert shown.count(BILLS) == 1
    assert shown.count("hint: %gpu down") == 1
    assert shown.count("KernelDied: signal 9") == 1


def test_an_error_is_shown_under_the_name_by_which_it_can_be_caught() -> None:
    (shown,) = UnreachableError("no answer from 127.0.0.1:9", hint="try")._render_traceback_()
    assert shown == "UnreachableError: no answer from 127.0.0.1:9\n\nhint: try"
