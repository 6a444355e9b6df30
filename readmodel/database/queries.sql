-- Every query of the read model that is longer than a line, for SQLite and PostgreSQL alike.
-- `:name` is a parameter, `{payments}` all columns of that table in the order of its struct,
-- `{=any ids}` the database's own way to say "is one of these". Lists that can be filtered are
-- made in `lists.py`, inserts and upserts in `statements.py`.

-- name: payment
SELECT {payments} FROM payments WHERE payment_intent_id = :payment_intent_id

-- name: snapshots
-- The rows of many payments, for the projector.
SELECT {payments} FROM payments WHERE payment_intent_id {=any ids}

-- name: approvals_of
-- All approvals of these payments, for the projector.
SELECT {approvals} FROM approvals WHERE payment_intent_id {=any ids}

-- name: conflicts_of
-- All conflicts of these payments, for the projector.
SELECT {conflicts} FROM conflicts WHERE payment_intent_id {=any ids}

-- name: events_at
-- Which of these places of the journal have an event, for the projector.
SELECT {events} FROM events WHERE partition = :partition AND "offset" {=any offsets}

-- name: events_decided
-- A partition's events decided in a period, for the projector, when it computes a minute again.
SELECT {events} FROM events
WHERE partition = :partition AND "offset" > :after
  AND decided_at >= :since AND decided_at < :until
ORDER BY "offset" LIMIT :limit

-- name: take_out_event
-- Two people ruled that it is FOREIGN.
DELETE FROM events WHERE partition = :partition AND "offset" = :offset

-- name: take_out_identifier
DELETE FROM identifiers
WHERE value = :value AND kind = :kind AND payment_intent_id = :payment_intent_id

-- name: take_out_payments
DELETE FROM payments WHERE payment_intent_id {=any ids}

-- name: take_out_approvals
DELETE FROM approvals WHERE payment_intent_id {=any ids}

-- name: take_out_conflicts
DELETE FROM conflicts WHERE payment_intent_id {=any ids}

-- name: counted_before
-- What these payments count for in the counts until now.
SELECT source, state, money_outcome, reason, needs_attention, waiting_for_person,
    overdue, parked, count(*)
FROM payments
WHERE payment_intent_id {=any ids}
GROUP BY source, state, money_outcome, reason, needs_attention, waiting_for_person,
    overdue, parked

-- name: add_to_count
INSERT INTO counts (name, amount) VALUES (:name, :amount)
ON CONFLICT (name) DO UPDATE SET amount = counts.amount + excluded.amount

-- name: counts_named
SELECT name, amount FROM counts WHERE name {=any names}

-- name: counts
-- Those by source and by reason only choose the index that a list is read by.
SELECT name, amount FROM counts WHERE name NOT LIKE 'source:%' AND name NOT LIKE 'reason:%'
UNION ALL
SELECT 'openConflicts', count(*) FROM conflicts WHERE verdict IS NULL
UNION ALL
SELECT 'approvalsReferred', count(*) FROM approvals
WHERE status = 'REFERRED' AND expires_at > :now
UNION ALL
SELECT 'quarantined', count(*) FROM quarantine WHERE redrive_id IS NULL
UNION ALL
-- Counted no further than people need to know: an attack must not make it slow.
SELECT 'quarantinedLately', count(*) FROM (
    SELECT 1 FROM quarantine WHERE at > :quarantined_after LIMIT 1000
) AS quarantined_lately
UNION ALL
SELECT 'violatedLately', count(*) FROM (
    SELECT 1 FROM outcomes
    WHERE code = 'INVARIANT_VIOLATION' AND decided_at > :violated_after LIMIT 1000
) AS violated_lately

-- name: move_offset
-- Compare-and-set: changes no row when another projector has moved the offset.
UPDATE offsets SET next = :after
WHERE topic = :topic AND partition = :partition AND next = :before

-- name: first_offset
INSERT INTO offsets (topic, partition, next) VALUES (:topic, :partition, :after)
ON CONFLICT (topic, partition) DO NOTHING

-- name: offsets
SELECT topic, partition, next FROM offsets

-- name: events
SELECT {events} FROM events
WHERE payment_intent_id = :payment_intent_id AND sequence > :after
ORDER BY sequence LIMIT :limit

-- name: events_since
SELECT {events} FROM events
WHERE partition = :partition AND "offset" >= :from_offset
ORDER BY "offset" LIMIT :limit

-- name: payment_events_since
-- A payment lives in one partition, so its sequences are in the order of offsets.
SELECT {events} FROM events
WHERE payment_intent_id = :payment_intent_id
  AND partition = :partition AND "offset" >= :from_offset
ORDER BY sequence LIMIT :limit

-- name: event_at_place
SELECT {events} FROM events WHERE partition = :partition AND "offset" = :offset

-- name: event_caused_at
SELECT {events} FROM events
WHERE cause_partition = :partition AND cause_offset = :offset AND cause_topic = :topic
ORDER BY sequence LIMIT 1

-- name: outcomes
SELECT {outcomes} FROM outcomes
WHERE payment_intent_id = :payment_intent_id
ORDER BY partition, "offset" LIMIT :limit

-- name: outcome_of
-- The first one: a later one under the same command id says DUPLICATE.
SELECT {outcomes} FROM outcomes
WHERE command_id = :command_id
ORDER BY decided_at, partition, "offset" LIMIT 1

-- name: find
-- References are upper case and compared so; UETRs are compared in lower case.
SELECT 'paymentIntentId', payment_intent_id FROM payments WHERE payment_intent_id = :value
UNION
SELECT 'endToEndId', payment_intent_id FROM payments WHERE end_to_end_id = :value
UNION
SELECT 'idempotencyKey', payment_intent_id FROM payments WHERE idempotency_key = :value
UNION
SELECT 'uetr', payment_intent_id FROM payments
WHERE uetr IS NOT NULL AND lower(uetr) = :small
UNION
SELECT kind, payment_intent_id FROM identifiers WHERE value = :value
UNION
SELECT kind, payment_intent_id FROM identifiers WHERE value = :capitals AND kind = 'externalRef'
ORDER BY 1, 2 LIMIT :limit

-- name: quarantined
SELECT {quarantine} FROM quarantine WHERE partition = :partition AND "offset" = :offset

-- name: redriven
UPDATE quarantine SET redrive_id = :redrive_id
WHERE partition = :partition AND "offset" = :offset

-- name: outcome_to_audit
-- A new outcome completes the audit row of its command.
UPDATE audit
SET result = :result, code = :code, rule = :rule, sentence = :sentence,
    from_sequence = :from_sequence, to_sequence = :to_sequence
WHERE audit_id = :audit_id AND command_id = :command_id

-- name: outcome_for_audit
-- The outcome of a new audit row's command, if it was projected before the row.
SELECT result, code, rule, sentence, from_sequence, to_sequence FROM outcomes
WHERE command_id = :command_id AND cause_partition = :partition AND cause_offset = :offset

-- name: checkpoint_over
-- After `npp control recover` a later checkpoint covers again what void ones covered: the last one counts.
SELECT {checkpoints} FROM (
    SELECT * FROM checkpoints WHERE partition = :partition AND from_offset <= :offset
    ORDER BY from_offset DESC, number DESC LIMIT 64
) AS newest
WHERE to_offset >= :offset ORDER BY number DESC LIMIT 1

-- name: checkpoint
SELECT {checkpoints} FROM checkpoints WHERE partition = :partition AND number = :number

-- name: last_checkpoint
SELECT {checkpoints} FROM checkpoints WHERE partition = :partition ORDER BY number DESC LIMIT 1

-- name: sequence_at
SELECT coalesce(max(sequence), 0) FROM events
WHERE payment_intent_id = :payment_intent_id AND "offset" <= :offset

-- name: checkpoint_over_outcome
SELECT {checkpoints} FROM (
    SELECT * FROM checkpoints WHERE partition = :partition AND from_outcome <= :offset
    ORDER BY from_outcome DESC, number DESC LIMIT 64
) AS newest
WHERE to_outcome >= :offset ORDER BY number DESC LIMIT 1

-- name: command_at
SELECT {commands} FROM commands WHERE partition = :partition AND "offset" = :offset

-- name: foreign_record
SELECT {foreign_records} FROM foreign_records WHERE partition = :partition AND "offset" = :offset

-- name: leaves
SELECT payment_intent_id, sequence, hash FROM events
WHERE partition = :partition AND "offset" BETWEEN :from_offset AND :to_offset
ORDER BY "offset"

-- name: answered
-- Outcomes of operator commands among the offsets, by payment and in log order.
SELECT payment_intent_id, raw FROM outcomes
WHERE cause_topic = :topic AND cause_partition = :partition AND partition = :outcomes_partition
    AND "offset" BETWEEN :from_outcome AND :to_outcome AND result <> 'MISROUTED'
ORDER BY "offset"

-- name: answered_of
SELECT payment_intent_id, raw FROM outcomes
WHERE payment_intent_id {=any ids} AND partition = :outcomes_partition AND "offset" <= :to_outcome
    AND cause_topic = :topic AND cause_partition = :partition AND result <> 'MISROUTED'
ORDER BY "offset"

-- name: heads_of
SELECT payment_intent_id, sequence, hash FROM events
WHERE payment_intent_id {=any ids} AND "offset" <= :to_offset
ORDER BY sequence

-- name: control
SELECT {control} FROM control WHERE "offset" > :after ORDER BY "offset" LIMIT :limit

-- name: minutes
SELECT {minutes} FROM minutes
WHERE minute >= :since AND minute < :until
ORDER BY minute, partition

-- name: minutes_of
-- Figures of these partitions and minutes; the projector picks the pairs that it needs.
SELECT {minutes} FROM minutes WHERE minute {=any minutes} AND partition {=any partitions}
