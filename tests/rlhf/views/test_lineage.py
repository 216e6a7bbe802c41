import pytest

from rlhf.domain.lineage_graph import Graph, Node
from rlhf.models import Loop, Round
from rlhf.views.graph import HEIGHT, WIDTH, draw_graph
from tests.rlhf.domain.feedback.conftest import add_pairs, judge_all
from tests.rlhf.domain.test_lineage import house, noa  # noqa: F401 -- fixtures
from tests.rlhf.domain.test_without import train as train_reward

pytestmark = pytest.mark.django_db


def test_a_model_shows_where_it_comes_from(as_manager, house):  # noqa: F811
    page = as_manager.get(f"/lineage/checkpoints/{house['two'].pk}/").content.decode()

    assert all(name in page for name in ("<svg", "leo", "noa", "everything", house["sft"].get_absolute_url()))


def test_a_model_without_a_past_says_so(as_manager, house):  # noqa: F811
    assert "version" not in as_manager.get(f"/lineage/checkpoints/{house['sft'].pk}/").content.decode()


def test_a_labeler_is_set_aside_and_models_rebuilt_with_one_click(as_manager, project, house, noa):  # noqa: F811
    Loop.objects.create(project=project, policy=house["two"])
    page = as_manager.get(f"/lineage/harbour/labelers/{noa.pk}/").content.decode()
    assert "Her judgments went into 2 models." in page

    answer = as_manager.post(f"/lineage/harbour/labelers/{noa.pk}/rebuild/")

    assert (answer.status_code, answer.url, Round.objects.get().base) == (302, "/loop/", house["one"])
    again = as_manager.post(f"/lineage/harbour/labelers/{noa.pk}/rebuild/")
    assert (again.status_code, "is running" in again.content.decode()) == (409, True)


def test_a_labelers_page_shows_the_reward_model_with_and_without_her(as_manager, project, house, noa, tmp_path):  # noqa: F811
    address = f"/lineage/harbour/labelers/{noa.pk}/"
    assert "is the newest that learned from her" in as_manager.get(address).text
    add_pairs(project, 40)
    for judge in (project.memberships.get(user__username="leo").user, noa):
        judge_all(project, judge, preference=-2)

    learned = train_reward(project, tmp_path, lambda row: 0.0)
    before = as_manager.get(address).text
    rebuilt = train_reward(project, tmp_path, lambda row: 1.0, without=("noa",))
    after = as_manager.get(address).text

    assert "that she judged" in before
    assert "rebuild one, and both are shown here side by side" in before
    assert "gained without her" not in before
    assert all(run.get_absolute_url() in after for run in (learned, rebuilt))
    assert "100.0%" in after
    assert "better without her by more than these pairs leave to chance" in after


def test_lineage_is_not_there_for_others(as_labeler, as_stranger, house, noa):  # noqa: F811
    for client in (as_labeler, as_stranger):
        assert client.get(f"/lineage/checkpoints/{house['two'].pk}/").status_code == 404
        assert client.get(f"/lineage/harbour/labelers/{noa.pk}/").status_code == 404
        assert client.post(f"/lineage/harbour/labelers/{noa.pk}/rebuild/").status_code == 404


def test_every_edge_of_a_picture_leads_to_the_right_and_no_boxes_lie_on_each_other():
    graph = Graph()
    for key in "abcdefg":
        graph.add(Node(key, "dataset" if key in "dfg" else "run", key))
    graph.edges = {("a", "b"), ("b", "c"), ("a", "c"), ("d", "c"), ("c", "e"), ("f", "e"), ("g", "b")}

    picture = draw_graph(graph)

    places = {box.node.key: (box.x, box.y) for box in picture.boxes}
    assert all(places[start][0] + WIDTH < places[end][0] for start, end in graph.edges)
    assert len({*places.values()}) == 7
    assert max(y for _, y in places.values()) + HEIGHT < picture.height
    assert (places["d"][0], places["f"][0]) == (places["b"][0], places["c"][0])
