"""Personal data: what has the right check digits goes, what is off by one digit stays."""

import datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipelines.corpus.cleaning import PersonalData
from data_pipelines.corpus.cleaning.batch import Batch
from data_pipelines.errors import DataError


def scrubbed(*texts, **settings):
    return PersonalData(**settings).edit(Batch(pl.Series(texts, dtype=pl.String))).batch.texts.to_list()


def check_digit(digits):
    """ISO 7064, MOD 11-2, digit by digit: not as the code has it."""
    total = 0
    for digit in digits:
        total = (total + int(digit)) * 2 % 11
    return "0123456789X"[(12 - total) % 11]


def luhn_digit(digits):
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


IDENTITIES = st.builds(
    lambda place, born, number: (start := f"{place}{born:%Y%m%d}{number:03d}") + check_digit(start),
    st.sampled_from(["110101", "440305", "310115", "510104", "659001"]),
    st.dates(datetime.date(1900, 1, 1), datetime.date(2025, 12, 31)),
    st.integers(0, 999),
)
CARDS = st.builds(
    lambda prefix, rest: (start := (prefix + rest)) + luhn_digit(start),
    st.sampled_from(["622202", "621700", "436742", "520083"]),
    st.text("0123456789", min_size=9, max_size=9),
)


@given(IDENTITIES)
def test_identity_numbers(number):
    assert scrubbed(f"身份证{number}，谢谢", f"编号A{number}") == ["身份证[身份证号]，谢谢", f"编号A{number}"]


@given(IDENTITIES, st.integers(0, 16), st.integers(1, 9))
def test_identity_numbers_off_by_one_digit(number, place, by):
    digit = str((int(number[place]) + by) % 10)
    wrong = f"号码{number[:place]}{digit}{number[place + 1 :]}。"
    assert scrubbed(wrong, kinds=("identity_number",)) == [wrong]


@given(CARDS, st.sampled_from(["", " ", "-"]))
def test_bank_cards(number, between):
    shown = between.join(number[i : i + 4] for i in range(0, 16, 4))
    assert scrubbed(f"卡号：{shown}。") == ["卡号：[银行卡号]。"]


@given(CARDS, st.integers(6, 15), st.integers(1, 9))
def test_bank_cards_off_by_one_digit(number, place, by):
    wrong = f"卡号：{number[:place]}{(int(number[place]) + by) % 10}{number[place + 1 :]}。"
    assert scrubbed(wrong, kinds=("bank_card",)) == [wrong]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("电话13812345678。", "电话[手机号]。"),
        ("电话+86 138-1234-5678或0086 13912345678", "电话[手机号]或[手机号]"),
        (
            "电话12812345678，编号138123456789，0.13812345678",
            "电话12812345678，编号138123456789，0.13812345678",
        ),
        ("致电010-62345678或(0755) 8234567转", "致电[电话]或[电话]转"),
        (
            "区号0110-62345678，010-12345678，日期2010-20201012",
            "区号0110-62345678，010-12345678，日期2010-20201012",
        ),
        ("写信至 li.lei+x@mail.example.com.cn。", "写信至 [邮箱]。"),
        ("用 @某人 或 a@b 或 pkg@1.2.3", "用 @某人 或 a@b 或 pkg@1.2.3"),
        ("身份证110101900307123，", "身份证[身份证号]，"),
        ("身份证110101901307123，", "身份证110101901307123，"),
        ("生于2月30日110101199002301234的", "生于2月30日110101199002301234的"),
        ("地址8.8.8.8和2400:3200::1，", "地址[IP地址]和[IP地址]，"),
        ("本机192.168.1.1和127.0.0.1，版本 7.4.7.2，v1.2.3.4，1.2.3.4.5", None),
        ("时间12:30:45，std::vector，300.1.1.1", None),
    ],
)
def test_kinds(text, expected):
    assert scrubbed(text, "没有") == [expected or text, "没有"]


def test_counts_and_chosen_kinds():
    texts = pl.Series(["13812345678，13912345678，a@b.cn", "好", "010-62345678"])
    changes = PersonalData().edit(Batch(texts)).changes
    assert {kind: counts.tolist() for kind, counts in changes.items() if counts.any()} == {
        "mobile": [2, 0, 0],
        "email": [1, 0, 0],
        "landline": [0, 0, 1],
    }
    assert scrubbed(*texts, kinds=("email",)) == ["13812345678，13912345678，[邮箱]", "好", "010-62345678"]
    assert scrubbed(*texts, kinds=()) == texts.to_list()
    with pytest.raises(DataError, match=r"PersonalData\.kinds: there is no kind 'name'"):
        PersonalData(kinds=("name",))


@given(st.text("0123456789 -.@:()Xab+", max_size=80))
def test_any_text_and_a_second_time(text):
    (once,) = scrubbed(text)
    assert scrubbed(once) == [once]
