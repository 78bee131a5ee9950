"""What a spreadsheet would read as a formula is text."""

from __future__ import annotations

import csv
import io

import pytest

from gaelp_ray.domain import spreadsheets

#: Text of users, as it stands in a cell.
TEXTS = {
    "=1+1": "'=1+1",
    "+1": "'+1",
    "-1": "'-1",
    "@SUM(A1)": "'@SUM(A1)",
    "\tx": "'\tx",
    "\rx": "'\rx",
    "\nx": "'\nx",
    " =1": "' =1",
    "\uff1d1": "'\uff1d1",
    "order-1": "order-1",
    "a=1": "a=1",
    "": "",
    "'=1": "'=1",
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_formula_is_told_to_be_text(text: str) -> None:
    rows = csv.reader(io.StringIO(spreadsheets.written([[text, -5, 1.5, None]]), newline=""))
    assert list(rows) == [[TEXTS[text], "-5", "1.5", ""]]
