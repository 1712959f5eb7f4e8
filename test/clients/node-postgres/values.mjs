// What values become with "postgres", and what does not work

import assert from 'node:assert/strict';
import postgres from 'postgres';

const sql = postgres({ max: 1, prepare: false });

// What arrives.  NULL and JSON's null are both null.
for (const payload of [{ order: 1 }, [1, 'two', null], 'text', 17]) {
  await sql`SELECT once.send('values', ${sql.json(payload)})`;
}
await sql`SELECT once.send('values', 'null')`;
await sql`SELECT once.send('values', ${null})`;
const messages = await sql`SELECT * FROM once.lease('values', '1 min', 10)`;
assert.deepEqual(messages.map((message) => message.payload), [{ order: 1 }, [1, 'two', null], 'text', 17, null, null]);
const { id, receipt, attempt, enqueued_at: enqueuedAt, leased_until: leasedUntil, headers } = messages[0];
assert.equal(typeof id, 'string');      // bigint
assert.equal(typeof receipt, 'string');
assert.equal(typeof attempt, 'number');
assert.ok(enqueuedAt instanceof Date && leasedUntil > enqueuedAt && headers === null);

// What is sent
const [{ ack_all: count }] = await sql`SELECT once.ack_all(${messages.map((message) => message.receipt)})`;
assert.equal(count, '6');
await sql`SELECT once.send('values', ${{ order: 1 }}, delay => ${'10 s'})`;
await sql`SELECT once.send('values', ${sql.json([])}, deliver_at => ${new Date()})`;
await sql`SELECT once.send_batch('values', ${[{ order: 1 }, 'text']}, group_ids => ${['a', null]})`;
await sql`SELECT once.redrive_ids('values', ${[1, '2']})`;

// undefined is refused.
await assert.rejects(async () => await sql`SELECT once.send('values', ${undefined})`, { code: 'UNDEFINED_VALUE' });
// JSON in a text is encoded once more, and arrives as a text.
await sql`SELECT once.pop('values', 100)`;
await sql`SELECT once.send('values', ${JSON.stringify({ order: 1 })})`;
const [{ payload }] = await sql`SELECT payload FROM once.pop('values')`;
assert.equal(payload, '{"order":1}');
await sql.end();
