"""What is remembered: never more than a given number of texts, none that is long, and each found once."""

from __future__ import annotations

from metronome.event.memo import Memo


def test_a_text_is_looked_for_once_and_memory_is_bounded() -> None:
    asked: list[str] = []

    def find(text: str) -> int:
        asked.append(text)
        return len(text)

    memo = Memo(find, most=2, longest=3)
    assert [memo[text] for text in ("a", "bb", "a", "long", "long", "bb")] == [1, 2, 1, 4, 4, 2]
    assert asked == ["a", "bb", "long", "long"]
    assert memo["ccc"] == 3  # the third: the first two are forgotten
    assert dict(memo) == {"ccc": 3}
    assert memo["a"] == 1
    assert asked[4:] == ["ccc", "a"]
