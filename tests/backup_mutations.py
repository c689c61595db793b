# ruff: noqa: E501  # quoted lines of code cannot be broken
"""The rules that come with the backup server, each with the edit that removes it."""

from __future__ import annotations

from functools import partial

from tests.mutations import Mutation

_Mutation = partial(Mutation, backup=True)

BACKUP_MUTATIONS = (
    _Mutation(
        "a catalog reads only under a lease from its epoch's other member",
        "catalog/node.py",
        "if self.lease_left_s <= 0:",
        "if False:",
        "test_the_side_that_is_cut_off_answers_nothing_old",
    ),
    _Mutation(
        "a cache's lease ends no later than its leader's own",
        "catalog/session_routes.py",
        "return min(node.lease_s, left_s)",
        "return node.lease_s",
        "test_the_side_that_is_cut_off_answers_nothing_old",
    ),
    _Mutation(
        "a new epoch's first commit waits for the read leases granted before it",
        "catalog/election.py",
        "node.no_commit_before = max(node.no_commit_before, node.granted_until)",
        "pass",
        "test_the_side_that_is_cut_off_answers_nothing_old",
    ),
    _Mutation(
        "a leader that returns tells its second what it committed before",
        "catalog/election.py",
        "if not was_leading and peer is not None and peer.prepared == node.end():",
        "if False:",
        "test_a_restarted_leader_tells_its_second_what_it_committed_when_nobody_else_votes",
    ),
    _Mutation(
        "a catalog that restarts acts as if it had granted a lease at its start",
        "catalog/node.py",
        "self.granted_until = self.started_at + longest_s * DRIFT",
        "self.granted_until = 0.0",
        "test_a_leader_that_restarts_beside_the_backup_waits_for_its_own_leases",
    ),
    _Mutation(
        "the backup that restarts acts as if it had granted a lease at its start",
        "catalog/witness.py",
        "        if self.keeping:\n            self._grant()  #",
        "        if False:\n            self._grant()  #",
        "tests/service/test_backup.py::test_a_restart_counts_as_a_lease_granted",
    ),
    _Mutation(
        "what a dead leader's second has prepared is rolled forward",
        "catalog/election.py",
        "return self._hold(self._prepared())",
        "return self._hold(None)",
        "test_a_second_keeps_what_it_has_prepared_though_its_leader_votes_for_it",
    ),
    _Mutation(
        "a second keeps what it has prepared, though its leader votes for it",
        "catalog/election.py",
        "if node.peer in holders and known.leader == node.name:",
        "if node.peer in holders:",
        "test_a_second_keeps_what_it_has_prepared_though_its_leader_votes_for_it",
    ),
    _Mutation(
        "what is prepared counts where the backup began after it",
        "catalog/election.py",
        'if problem.code != "too-far-behind" or prepared is None:',
        "if True:",
        "test_what_is_prepared_is_enough_where_the_backup_began_after_it",
    ),
    _Mutation(
        "who takes an epoch goes by the latest that any voter knows",
        "catalog/election.py",
        "known = membership.latest([old, *heard])",
        "known = membership.latest([old])",
        "test_a_leader_that_dies_while_the_backup_keeps_is_replaced_by_the_one_that_returns",
    ),
    _Mutation(
        "who lacks what the last epoch committed does not lead",
        "catalog/membership.py",
        'return Verdict(Step.WAIT, "nobody that answers is complete")',
        'return Verdict(Step.LEAD, "nobody that answers is complete")',
        "tests/unit/test_membership.py::test_what_a_catalog_does",
    ),
    _Mutation(
        "who returns drops the prepared entry that the others went on without",
        "catalog/trio.py",
        "                    node.write(lambda db: store.discard_prepared(db))",
        "                    pass",
        "test_a_replica_whose_prepared_entry_was_dropped_is_counted_again",
    ),
    _Mutation(
        "what is prepared goes no earlier than what took its place comes",
        "catalog/trio.py",
        "        try:\n            entries = self._transport.entries(node.peer, node.end().seq)\n            if",
        "        node.write(lambda db: store.discard_prepared(db))\n"
        "        try:\n            entries = self._transport.entries(node.peer, node.end().seq)\n            if",
        "test_a_restarted_leader_shows_what_its_second_no_longer_shows_as_it_was",
    ),
    _Mutation(
        "a promise binds: one candidate for each number",
        "catalog/membership.py",
        "    if asked.epoch <= view.promise.epoch:\n        return",
        "    if False:\n        return",
        "tests/service/test_backup.py::test_a_promise_is_kept_and_repeated",
    ),
    _Mutation(
        "an epoch that has begun is promised to nobody",
        "catalog/membership.py",
        "    if asked.epoch <= record.epoch:\n        return",
        "    if False:\n        return",
        "tests/service/test_backup.py::test_a_higher_epoch_is_entered_without_a_promise",
    ),
    _Mutation(
        "a leader that is heard by the backup is not deposed",
        "catalog/membership.py",
        "    if leads not in (None, asked.candidate):\n        return",
        "    if False:\n        return",
        "tests/service/test_backup.py::test_a_refused_promise_reports_nothing_and_binds_nobody",
    ),
    _Mutation(
        "a disk that has no vote is not voted for",
        "catalog/membership.py",
        "    if record.voters.get(asked.candidate) != asked.disk:\n        return",
        "    if False:\n        return",
        "tests/service/test_backup.py::test_only_a_voter_on_its_disk_is_promised_anything",
    ),
    _Mutation(
        "a catalog that has lost entries is not voted for",
        "catalog/membership.py",
        "    if reported is not None and asked.tail.seq < reported.seq:\n        return",
        "    if False:\n        return",
        "test_a_catalog_that_has_lost_entries_is_not_voted_for",
    ),
    _Mutation(
        "the backup keeps an entry only in the epoch whose second it is",
        "catalog/witness.py",
        'if not in_epoch(self.view(), epoch):\n                raise self._fenced("the sender\'s epoch is over")',
        "if False:\n                pass",
        "tests/service/test_backup.py::test_only_the_epoch_it_is_in_as_a_member_is_obeyed",
    ),
    _Mutation(
        "the backup lets go only of what both catalogs have",
        "catalog/witness.py",
        "if self.epoch == epoch and not self.keeping and self.kept.entries:",
        "if self.kept.entries:",
        "tests/service/test_backup.py::test_a_release_of_another_epoch_deletes_nothing",
    ),
    _Mutation(
        "who is told that it has lost entries gives up its disk",
        "catalog/election.py",
        "if not was_leading and self._lost_entries:",
        "if False:",
        "test_a_leader_with_an_older_disk_gives_it_up_though_the_other_catalog_would_vote",
    ),
    _Mutation(
        "a planned hand-over waits for every cache's session",
        "catalog/handover.py",
        "lambda: not node.sessions.alive(node.clock.now())",
        "lambda: True",
        "test_no_cache_answers_for_a_leader_that_hands_over",
    ),
    _Mutation(
        "the next leader applies what is committed before nobody else can show it",
        "catalog/handover.py",
        "self._transport.commit(node.peer, epoch, node.end())",
        "pass",
        "test_the_lead_is_handed_over_without_a_failed_request",
    ),
    _Mutation(
        "what waits during a hand-over is sent on only when the next leader leads",
        "catalog/handover.py",
        "while not self._next_leads() and",
        "while False and",
        "test_the_lead_is_handed_over_without_a_failed_request",
    ),
    _Mutation(
        "a second stays in an epoch that its leader has yet to enter",
        "catalog/trio.py",
        "if granted is None and not self._late():",
        "if False:",
        "test_the_lead_is_handed_over_without_a_failed_request",
    ),
    _Mutation(
        "what has been sent to a second that was cut off is sent to the next one at once",
        "catalog/replicate.py",
        "waits = standing == self._pushed_in and node.clock.now() < self._push_at",
        "waits = node.clock.now() < self._push_at",
        "test_a_replica_that_is_cut_off_is_replaced_as_soon_as_a_dead_one",
    ),
    _Mutation(
        "an entry that is sent anew while it is on its way may have left",
        "catalog/replicate.py",
        "self._sent |= self._push_at == math.inf",
        "pass",
        "tests/service/test_catalog_writer.py::test_a_write_that_is_under_way_anew_is_not_dropped_for_an_attempt_before",
    ),
    _Mutation(
        "a deposed leader writes nothing before its last batch is put away",
        "catalog/node.py",
        '        if self.writing:\n            raise Problem("unavailable", f"{self.name} has yet',
        '        if False:\n            raise Problem("unavailable", f"{self.name} has yet',
        "test_a_deposed_leader_follows_though_an_entry_of_its_own_was_on_its_way",
    ),
)
