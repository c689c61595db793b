# ruff: noqa: E501  # quoted lines of code cannot be broken
"""The rules of the protocol, each with the edit that removes it. `make mutate` applies one at a
time to a copy and runs the simulator on it: a rule whose removal stays green is not tested.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """One rule taken out: in `file`, `old` becomes `new`. `held_by` is the test that holds it."""

    rule: str
    file: str
    old: str
    new: str
    held_by: str
    backup: bool = False  # a rule that needs the backup server


MUTATIONS = (
    Mutation(
        "an entry commits only when every session has acknowledged or ended",
        "catalog/replicate.py",
        "return self._prepared and not waiting and now >= node.no_commit_before",
        "return self._prepared and now >= node.no_commit_before",
        "test_a_lost_invalidation_is_sent_again_before_the_sale_is_answered",
    ),
    Mutation(
        "an invalidation that was lost is sent again",
        "catalog/replicate.py",
        "self._tell_at[session] = self._node.clock.now() + RESEND_S",
        "self._tell_at[session] = math.inf",
        "test_an_invalidation_that_was_lost_is_sent_again",
    ),
    Mutation(
        "an entry commits only when the replica has it prepared",
        "catalog/replicate.py",
        "return self._prepared and not waiting and now >= node.no_commit_before",
        "return self._sent and not waiting and now >= node.no_commit_before",
        "test_replica_killed_before_its_sync_leaves_the_outcome_unknown_then_decided",
    ),
    Mutation(
        "a restarted leader's first commit waits for the longest lease ever granted",
        "catalog/pair.py",
        "node.no_commit_before = node.started_at + old.lease_s_max * DRIFT",
        "node.no_commit_before = 0.0",
        "test_a_leader_restarted_inside_a_lease_waits_for_it",
    ),
    Mutation(
        "a prepared entry makes its keys dirty at the replica",
        "catalog/node.py",
        "if store.is_dirty(db, key):",
        "if self.leads and store.is_dirty(db, key):",
        "test_leader_killed_after_the_replica_prepared_completes_the_sale",
    ),
    Mutation(
        "a leader adopts what its replica has prepared",
        "catalog/pair.py",
        "adopted = None if was_leading else self._adopt(peer)",
        "adopted = None",
        "test_leader_killed_after_the_replica_prepared_completes_the_sale",
    ),
    Mutation(
        "no session begins while a leader hands over",
        "catalog/session_routes.py",
        '    if node.yielding_to:\n        raise Problem("unavailable"',
        '    if False:\n        raise Problem("unavailable"',
        "test_no_session_begins_while_a_leader_hands_over",
    ),
    Mutation(
        "a promise never sinks",
        "catalog/pair.py",
        "if node.record.promise.epoch >= epoch:",
        "if False:",
        "test_a_promise_never_sinks",
    ),
    Mutation(
        "what is prepared at a promoted catalog stands",
        "catalog/promotion.py",
        "node.write(_apply_prepared)",
        "pass",
        "test_what_is_prepared_at_a_promoted_catalog_stands",
    ),
    Mutation(
        "a promotion waits for the leases of the leader that is gone",
        "catalog/promotion.py",
        "self._wait(lambda: node.clock.now() >= ends)",
        "pass",
        "test_what_is_prepared_at_a_promoted_catalog_stands",
    ),
    Mutation(
        "a promotion that the other catalog's return has overtaken changes nothing",
        "catalog/promotion.py",
        "if node.record.promise != promise or node.record.record != old:",
        "if False:",
        "test_a_catalog_whose_peer_returns_meanwhile_is_not_promoted",
    ),
    Mutation(
        "what is left of a leader that was given up is refilled before it counts",
        "catalog/replication.py",
        "full = me.end == peer.end and me.record == peer.record",
        "full = me.end == peer.end",
        "test_a_leader_that_returns_after_a_promotion_follows",
    ),
    Mutation(
        "an operation with a recorded outcome is answered, not done again",
        "catalog/store.py",
        '    row = db.execute("SELECT fingerprint, status, answer FROM operations WHERE key = ?", (key,)).get\n',
        "    row = None\n",
        "test_leader_killed_after_the_replica_prepared_completes_the_sale",
    ),
    Mutation(
        "a refusal is recorded under its key",
        "catalog/batch.py",
        "        return refused.problem.status, refused.problem.body()\n",
        "        raise ValueError(refused.problem.detail) from None\n",
        "test_one_copy_two_hundred_buyers_one_sale",
    ),
    Mutation(
        "a session with an unacknowledged invalidation is not renewed",
        "catalog/sessions.py",
        "if found.unacknowledged and now - self._pending_since > HEARTBEAT_S:",
        "if False:",
        "test_a_twin_does_not_acknowledge_for_a_process_of_its_name",
    ),
    Mutation(
        "registrations during a pending write start with its floors",
        "catalog/sessions.py",
        "return dict.fromkeys(self._pending_keys, self._pending_seq)",
        "return {}",
        "tests/unit/test_sessions.py::test_a_registration_while_a_write_is_pending_starts_with_its_floors",
    ),
    Mutation(
        "a registration never replaces an older session",
        "catalog/sessions.py",
        "            self._alive[session] = Session(",
        "            self._alive = {s: held for s, held in self._alive.items() if held.name != name}\n"
        "            self._alive[session] = Session(",
        "test_a_twin_does_not_acknowledge_for_a_process_of_its_name",
    ),
    Mutation(
        "once a PREPARE may have left, the entry is never given up",
        "catalog/replicate.py",
        "return self._unsent and not self._sent",
        "return self._unsent",
        "test_replica_killed_before_its_sync_leaves_the_outcome_unknown_then_decided",
    ),
    Mutation(
        "a replica applies only the prepared entry that was committed",
        "catalog/replica.py",
        "if entry is not None and entry.position == position:",
        "if entry is not None:",
        "tests/service/test_catalog_peers.py::test_a_commit_applies_exactly_the_prepared_entry",
    ),
    Mutation(
        "a replica acknowledges only after its sync",
        "catalog/replica.py",
        "            node.write(lambda db: _store(db, entry, apply_first=answer is Answer.APPLY_THEN_STORE))\n",
        "            if node.random.random() < 0.5:\n"
        "                node.write(lambda db: _store(db, entry, apply_first=answer is Answer.APPLY_THEN_STORE))\n",
        "test_reads_go_on_when_a_catalog_dies",
    ),
    Mutation(
        "a hit needs a lease that has not ended",
        "frontend/cache.py",
        "        if self._now() >= self._session.ends_at:\n            return None\n",
        "",
        "test_a_lost_invalidation_is_sent_again_before_the_sale_is_answered",
    ),
    Mutation(
        "a fill needs the session its fetch began under",
        "frontend/cache.py",
        "if ticket != self._ticket:\n            return",
        "if False:\n            return",
        "test_a_fill_from_an_earlier_session_is_not_kept",
    ),
    Mutation(
        "a fill below the key's floor is refused",
        "frontend/cache.py",
        'return "below-floor" if as_of < self._floor(key.tag) else None',
        "return None",
        "test_replica_killed_before_its_sync_leaves_the_outcome_unknown_then_decided",
    ),
    Mutation(
        "an invalidation deletes the entry",
        "frontend/cache.py",
        "                self._forget(tag)\n",
        "",
        "test_a_lookup_is_a_miss_then_a_hit_then_new_after_a_purchase",
    ),
    Mutation(
        "an invalidation is acknowledged only by the session installed",
        "frontend/cache.py",
        "            return ours\n",
        "            return True\n",
        "test_a_twin_does_not_acknowledge_for_a_process_of_its_name",
    ),
    Mutation(
        "a new session is an empty cache",
        "frontend/cache.py",
        "self._entries[key] = _Entry(self._session.id, value, as_of)",
        'self._entries[key] = _Entry("any", value, as_of)',
        "test_a_lookup_is_a_miss_then_a_hit_then_new_after_a_purchase",
    ),
    Mutation(
        "a session is surrendered only after the cache has stopped answering from it",
        "frontend/lease.py",
        "        self._cache.end()\n        if held is not None:\n            self._surrender(held)\n",
        "        if held is not None:\n            self._surrender(held)\n",
        "test_a_session_given_back_answers_nothing_any_more",
    ),
    Mutation(
        "an acknowledgement counts only in the epoch it was given in",
        "catalog/replicate.py",
        "return self._acknowledged == self._node.standing",
        "return self._acknowledged > (0, 0)",
        "test_a_replica_disk_lost_after_its_acknowledgement_does_not_count",
    ),
    Mutation(
        "what a replica acknowledged is void once it compares itself anew",
        "catalog/node.py",
        "            self.peer_joined += 1\n",
        "            pass\n",
        "test_an_older_replica_disk_put_back_after_its_acknowledgement_does_not_count",
    ),
    Mutation(
        "a replica whose disk is from before this epoch is made a member again",
        "catalog/pair.py",
        "if not counts or peer.record != record or node.record.promise.epoch > node.epoch:",
        "if not counts or node.record.promise.epoch > node.epoch:",
        "test_a_disk_from_an_older_epoch_rejoins",
    ),
    Mutation(
        "nothing commits between the promise of an epoch and its begin",
        "catalog/replicate.py",
        "if not node.leads or node.record.promise.epoch > node.epoch:",
        "if not node.leads:",
        "test_nothing_commits_between_the_promise_of_an_epoch_and_its_begin",
    ),
    Mutation(
        "a replica refuses an epoch below its promise",
        "catalog/replication.py",
        "epoch == record.epoch and view.promise.epoch <= epoch",
        "epoch == record.epoch",
        "test_a_prepare_from_before_the_promise_is_refused",
    ),
    Mutation(
        "a leader whose disk was rolled back is refilled before it leads",
        "catalog/replication.py",
        "    if replica.end.seq > leader.end.seq:\n",
        "    if False:\n",
        "test_a_catalog_with_an_older_disk_is_noticed_and_refilled",
    ),
    Mutation(
        "a replica whose disk was rolled back is refilled before it counts",
        "catalog/replication.py",
        "    elif replica.tail.seq < leader.end.seq:\n",
        "    elif False:\n",
        "test_a_catalog_with_an_older_disk_is_noticed_and_refilled",
    ),
    Mutation(
        "a follower moves its cursor over gap-free rows only, a sale does not move it",
        "order/store.py",
        "                _put(db, order)\n            self._place = place\n",
        "                _put(db, order)\n"
        '                db.execute("UPDATE cursor SET number = max(number, ?)", (order.number or 0,))\n'
        "            self._place = Place(place.cluster, max(place.number, order.number or 0))\n",
        "tests/unit/test_order_store.py::test_a_sale_does_not_move_the_cursor",
    ),
    Mutation(
        "an order server catches up before it says that there is no such order",
        "order/routes.py",
        "        follower.catch_up(g.until - READ_MARGIN_S)\n",
        "        pass\n",
        "test_order_servers_without_room_still_sell_and_catch_up",
    ),
    Mutation(
        "writes-unavailable is said only if every attempt came to nothing",
        "order/sales.py",
        "        self._unknown = True\n",
        "        self._unknown = False\n",
        "test_leader_killed_before_prepare_sells_nothing_until_the_key_is_tried_again",
    ),
    Mutation(
        "never before its sync: every commit is synced (off)",
        "common/database.py",
        '"normal" if is_a_copy else "full"',
        '"normal" if is_a_copy else "off"',
        "test_a_catalog_whose_sync_fails_ends_and_comes_back_verified",
    ),
    Mutation(
        "never before its sync: every commit is synced (normal)",
        "common/database.py",
        '"normal" if is_a_copy else "full"',
        '"normal"',
        "test_a_catalog_whose_sync_fails_ends_and_comes_back_verified",
    ),
    Mutation(
        "a full disk inside a batch abandons the whole batch",
        "catalog/batch.py",
        "except (TypeError, ValueError, KeyError, apsw.ConstraintError) as error:",
        "except (TypeError, ValueError, KeyError, apsw.ConstraintError, apsw.FullError) as error:",
        "test_a_leader_without_room_in_the_batch_refuses_it_whole",
    ),
    Mutation(
        "a full disk at the commit: the entry is reapplied from its changeset",
        "catalog/writer.py",
        "            return False\n        return True\n",
        "            return True\n        return True\n",
        "test_a_leader_without_room_at_its_commit_applies_the_entry_once_there_is_room",
    ),
    Mutation(
        "an error of the commit does not prove that nothing was committed (catalog)",
        "catalog/writer.py",
        "if store.end(db) == entry.position:",
        "if False:",
        "test_a_checkpoint_without_room_does_not_undo_the_commit_before_it",
    ),
    Mutation(
        "a full disk at the commit: the entry is not given up",
        "catalog/writer.py",
        '            log.error("cannot commit entry %d yet: %s", entry.position.seq, problem.detail)\n',
        '            self._node.become("recovering", problem.detail)\n',
        "test_a_leader_without_room_at_its_commit_applies_the_entry_once_there_is_room",
    ),
    Mutation(
        "a full disk stops no sale: an order server that cannot store it still answers 201",
        "order/sales.py",
        "        except (Refused, NotStored, StorageBroken, apsw.Error) as error:\n",
        "        except Refused as error:\n",
        "test_order_servers_without_room_still_sell_and_catch_up",
    ),
    Mutation(
        "fsync error: a catalog ends and never goes on",
        "catalog/disk.py",
        "if isinstance(error, apsw.IOError | apsw.CorruptError | apsw.NotADBError):",
        "if isinstance(error, apsw.IOError):\n"
        '            raise Problem("storage-failed", str(error)) from error\n'
        "        if isinstance(error, apsw.CorruptError | apsw.NotADBError):",
        "test_a_catalog_whose_sync_fails_ends_and_comes_back_verified",
    ),
    Mutation(
        "fsync error: an order server ends and never goes on",
        "order/store.py",
        "except (apsw.FullError, apsw.BusyError) as error:",
        "except (apsw.FullError, apsw.BusyError, apsw.IOError) as error:",
        "test_an_order_server_whose_sync_fails_ends_and_catches_up",
    ),
    Mutation(
        "a promise is durable before it is spoken",
        "catalog/record.py",
        '        self._write("UPDATE node SET promised = ?, candidate = ?", promise.epoch, promise.candidate)\n',
        "        self.promise = promise\n",
        "test_a_promise_outlives_a_power_loss",
    ),
    Mutation(
        "the holder of a lease counts less than it was given",
        "frontend/cache.py",
        "DRIFT = 0.99 ",
        "DRIFT = 1.0 ",
        "test_a_cache_stops_in_time_when_both_clocks_are_at_the_bound",
    ),
    Mutation(
        "the grantor of a lease counts more than it gave",
        "catalog/sessions.py",
        "DRIFT = 1.01",
        "DRIFT = 1.0",
        "test_a_cache_stops_in_time_when_both_clocks_are_at_the_bound",
    ),
    Mutation(
        "a message that is lost leaves every sale in it unknown",
        "order/sales.py",
        "        except PeerDown:\n            for sale in sales:\n                sale.unknown(",
        "        except PeerDown:\n            for sale in sales:\n                sale.nothing(",
        "test_leader_killed_before_prepare_sells_nothing_until_the_key_is_tried_again",
    ),
    Mutation(
        "each purchase of a message hears its own answer",
        "frontend/purchases.py",
        "zip(load, told, strict=True)",
        "zip(load, reversed(told), strict=True)",
        "test_purchases_that_travel_together_hear_each_its_own_answer",
    ),
    Mutation(
        "a process does not build on what a failed sync has left in the cache",
        "common/database.py",
        '            _rewrite(Path(f"{path}-wal"))\n',
        "",
        "test_what_follows_a_failed_sync_does_not_build_on_what_the_disk_never_got",
    ),
    Mutation(
        "nothing is answered ahead of a request in flight on its connection",
        "common/protocol.py",
        "            self._taken is None\n            and (cycle is None or cycle.response_complete)\n"
        "            and not",
        "            not",
        "tests/unit/test_protocol.py::test_nothing_overtakes_a_request_in_flight",
    ),
    Mutation(
        "what follows a call that waits for the end of the loop's turn is answered behind it",
        "common/protocol.py",
        "            self._turn.end()\n            self._take_piece(data)",
        "            self._take_piece(data)",
        "tests/unit/test_protocol.py::test_what_follows_a_known_call_in_its_turn_is_answered_behind_it",
    ),
    Mutation(
        "the hits of a turn are answered only if the lease lasted until after their look-ups",
        "frontend/cache.py",
        "            if self._now() >= session.ends_at:  # after the entries, as in `_get`\n",
        "            if False:\n",
        "tests/unit/test_cache.py::test_a_pause_after_several_entries_is_noticed",
    ),
    Mutation(
        "what comes behind a call without a task waits for its answer",
        "common/protocol.py",
        "        if self._taken is not None:\n            self._put_behind(data)\n            return\n",
        "",
        "tests/service/test_pieces.py::test_what_comes_behind_a_call_is_answered_behind_it",
    ),
    Mutation(
        "an answer that comes too late is not taken for the next call's",
        "common/protocol.py",
        "        if self._taken is not call:\n            return  # nobody waits for it any more\n",
        "",
        "tests/service/test_pieces.py::test_a_request_is_answered_alike_however_it_is_cut",
    ),
    Mutation(
        "a call ahead of Flask is checked for its signature",
        "common/direct.py",
        "sender = self._signer.check(headers, call.method, target, call.body, self._cluster())",
        'sender = headers.get("Bazar-From", "")',
        "tests/service/test_direct.py::test_what_is_not_in_order_is_left_to_flask",
    ),
    Mutation(
        "a call ahead of Flask is checked for its cluster",
        "common/direct.py",
        "target, call.body, self._cluster())",
        "target, call.body)",
        "tests/service/test_direct.py::test_what_is_not_in_order_is_left_to_flask",
    ),
    Mutation(
        "a read ahead of Flask is checked for its signature",
        "catalog/quick.py",
        '            self._signer.check(Headers(call), call.method, target, b"", cluster)\n',
        "",
        "tests/service/test_quick.py::test_a_call_that_is_not_signed_is_not_answered",
    ),
    Mutation(
        "a read ahead of Flask is checked for its cluster",
        "catalog/quick.py",
        'target, b"", cluster)',
        'target, b"")',
        "tests/service/test_quick.py::test_a_call_signed_for_something_else_is_not_answered",
    ),
    Mutation(
        "what was refused to an attempt stays refused to it",
        "catalog/queue.py",
        "if attempt and (operation.key, attempt) in self._refused:",
        "if False:",
        "test_a_message_that_arrives_again_after_its_refusal_does_nothing",
    ),
)
