"""The comparison of reducing flows runs, and counts what it says."""

from benchmarks import reduction
from benchmarks.quality import Setting


def test_both_flows_are_scored(tmp_path):
    out = tmp_path / "results.md"
    quick = Setting("digits", 2, 16, 2, layers=4, hidden=(8,), limit=64)
    reduction.main(["--seeds", "2", "--out", str(out)], [quick])
    (row,) = [line for line in out.read_text("utf-8").splitlines() if line.startswith("| digits")]
    assert len(row.split("|")) == 9
    assert row.split("|")[-2].strip() in ("yes", "NO")


def test_half_of_the_dimensions_are_lost():
    setting = reduction.SETTINGS[0]
    flows = [reduction.make(method, 7, setting) for method in reduction.METHODS]
    assert [flow.latent_shape for flow in flows] == [(7,), (4,)]
    assert all(flow.exact for flow in flows)


def test_a_loss_of_more_than_one_per_cent_misses_the_goal():
    setting = Setting("digits", 1, 1, 1)
    for result, met in ((-100.5, "yes"), (-101.5, "NO")):
        nats = {("digits", "bijective"): [-100.0] * 2, ("digits", "reducing"): [result] * 2}
        assert reduction.table(nats, [setting]).splitlines()[-1].endswith(f"| {met} |")
