from pipeline.pages import strip_plot


def test_points_of_equal_score_do_not_hide_each_other():
    assert len(set(strip_plot.lanes([0.5] * 7))) == 7
    assert strip_plot.lanes([0.1, 0.5, 0.9]) == [0, 0, 0]
