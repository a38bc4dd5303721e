"""Pictures and areas."""

from __future__ import annotations

from oriel.client.picture import Area, Picture


def filled(width: int, height: int, colour: tuple[int, int, int]) -> Picture:
    red, green, blue = colour
    return Picture(width, height, bytearray(bytes((blue, green, red, 0)) * (width * height)))


def test_areas_meet_and_contain() -> None:
    screen = Area(0, 0, 100, 50)
    assert screen.intersection(Area(90, 40, 30, 30)) == Area(90, 40, 10, 10)
    assert screen.intersection(Area(-5, -5, 10, 10)) == Area(0, 0, 5, 5)
    assert screen.intersection(Area(200, 0, 5, 5)).pixels == 0
    assert screen.contains(Area(99, 49, 1, 1))
    assert not screen.contains(Area(99, 49, 2, 1))
    assert str(Area(3, 4, 10, 20)) == "10x20+3+4"
    assert Area(10, 10, 100, 50).centre == (60, 35)


def test_crop_takes_just_the_part_that_is_there() -> None:
    picture = Picture.black(4, 3)
    picture.draw(Area(2, 1, 2, 1), bytes((9, 8, 7, 0)) * 2)
    part = picture.crop(Area(3, 1, 5, 5))
    assert (part.width, part.height) == (1, 2)
    assert part.colours() == {(7, 8, 9): 1, (0, 0, 0): 1}
    assert picture.crop(Area(9, 9, 2, 2)).area.pixels == 0


def test_share_of_a_colour_is_within_its_tolerance() -> None:
    picture = filled(10, 10, (100, 150, 200))
    picture.draw(Area(0, 0, 10, 4), bytes((0, 0, 0, 0)) * 40)
    assert picture.share_of((102, 148, 200)) == 0.6
    assert picture.share_of((103, 150, 200)) == 0
    assert Picture.black(0, 0).share_of((0, 0, 0)) == 0


def test_the_unused_byte_says_nothing() -> None:
    one, other = filled(6, 4, (1, 2, 3)), filled(6, 4, (1, 2, 3))
    other.pixels[3::4] = b"\xff" * 24
    assert one.differing(other) == 0
    assert other.colours() == {(1, 2, 3): 24}


def test_differing_counts_pixels() -> None:
    before, after = filled(6, 4, (1, 2, 3)), filled(6, 4, (1, 2, 3))
    after.draw(Area(1, 1, 3, 2), bytes(3 * 2 * 4))
    assert before.differing(after) == 6
    assert before.differing(filled(7, 4, (1, 2, 3))) == 28
