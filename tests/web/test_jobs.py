import pytest

from auss.web.jobs import CancelledError, Jobs
from auss.web.visitors import Visitors

PAGE, OTHER = ("visitor", "page"), ("visitor", "other page")


@pytest.fixture
def jobs(tmp_path):
    return Jobs(Visitors(tmp_path))


def with_file(job):
    job.folder.mkdir(parents=True)
    (job.folder / "video.mp4").touch()
    return job


def test_a_new_job_stops_the_earlier_one_of_the_page_and_deletes_its_results(jobs):
    first, other = with_file(jobs.begin(PAGE)), with_file(jobs.begin(OTHER))
    second = jobs.begin(PAGE)
    assert jobs.of(PAGE) is second
    assert first.stop.is_set() and not first.folder.exists()
    assert not other.stop.is_set() and other.folder.exists()


def test_a_stopped_job_raises_at_its_next_check(jobs):
    job = jobs.begin(PAGE)
    job.check()
    jobs.stop(PAGE)
    with pytest.raises(CancelledError):
        job.check()


def test_a_forgotten_page_has_no_job(jobs):
    job = with_file(jobs.begin(PAGE))
    jobs.forget(PAGE)
    jobs.stop(PAGE)
    assert jobs.of(PAGE) is None and job.stop.is_set() and not job.folder.exists()


def test_results_lie_in_the_visitors_own_folder(jobs, tmp_path):
    folder = jobs.begin(PAGE).folder
    assert Visitors(tmp_path).owns("visitor", folder / "video.mp4")
    assert not Visitors(tmp_path).owns("somebody else", folder / "video.mp4")


def test_all_jobs_stop_with_the_server(jobs):
    found = [jobs.begin(PAGE), jobs.begin(OTHER)]
    jobs.stop_all()
    assert all(job.stop.is_set() for job in found)
