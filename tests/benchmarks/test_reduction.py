"""The comparison of reducing flows runs, and counts what it says."""

from benchmarks import reduction
from benchmarks.quality import Setting


def test_both_flows_are_scored(tmp_path):
    out = tmp_path / "results.md"
    quick = Setting("digits", 2, 16, 2, layers=4, hidden=(8,), limit=64)
    reduction.main(["--seeds", "2", "--out", str(out)], [quick])
    (row,) = [line for line in out.read_text("utf-8").splitlines() if line.startswith("| digits")]
    assert len(row.split("|")) == 7
    assert row.count(" to ") == 3  # two seeds have a range, and their difference an interval


def test_half_of_the_dimensions_are_lost():
    setting = reduction.SETTINGS[0]
    flows = [reduction.make(method, 7, setting) for method in reduction.METHODS]
    assert [flow.latent_shape for flow in flows] == [(7,), (4,)]
    assert all(flow.exact for flow in flows)


def test_what_is_lost_is_said_in_nats_wherever_their_origin_lies():
    setting, found = Setting("digits", 1, 1, 1), []
    for origin in (0.0, -100.0):
        nats = {
            ("digits", "bijective"): [origin + each for each in (1.0, 2.0, 3.0)],
            ("digits", "reducing"): [origin + each for each in (0.0, 1.0, 2.0)],
        }
        found.append(reduction.table(nats, [setting]).splitlines()[-1].split("|")[-2].strip())
    assert found == ["-1 (-4.5 to +2.5)"] * 2  # t with 2 degrees of freedom is 4.303
