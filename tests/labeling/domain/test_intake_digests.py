from hashlib import sha256

from labeling.domain.intake.digests import Digests


def test_a_digest_is_new_once():
    digests = Digests()
    first, second = sha256(b"1").digest(), sha256(b"2").digest()

    assert [digests.add(digest) for digest in (first, second, first)] == [True, True, False]
    assert (len(digests), list(digests)) == (2, sorted([first, second]))


def test_two_sets_know_nothing_of_each_other():
    one, other = Digests(), Digests()
    one.add(b"x")

    assert (len(other), other.add(b"x")) == (0, True)
