// What values become with "pg", and what does not work

import assert from 'node:assert/strict';
import pg from 'pg';

const client = new pg.Client();
await client.connect();
const rows = async (sql, ...parameters) => (await client.query({ text: sql, values: parameters, rowMode: 'array' })).rows;
const value = async (sql, ...parameters) => (await rows(sql, ...parameters))[0][0];
const fails = (code, sql, ...parameters) => assert.rejects(rows(sql, ...parameters), { code });

// What arrives.  NULL and JSON's null are both null.
for (const payload of [{ order: 1 }, [1, 'two', null], 'text', 17, null]) {
  await value(`SELECT once.send('values', $1)`, JSON.stringify(payload));
}
await value(`SELECT once.send('values', $1)`, null);
const messages = await rows(`SELECT id, receipt, enqueued_at, leased_until, headers, attempt, payload FROM once.lease('values', '1 min', 10)`);
assert.deepEqual(messages.map((row) => row[6]), [{ order: 1 }, [1, 'two', null], 'text', 17, null, null]);
const [id, receipt, enqueuedAt, leasedUntil, headers, attempt] = messages[0];
assert.equal(typeof id, 'string');      // bigint
assert.equal(typeof receipt, 'string');
assert.equal(typeof attempt, 'number');
assert.ok(enqueuedAt instanceof Date && leasedUntil > enqueuedAt && headers === null);

// What is sent
assert.equal(await value('SELECT once.ack_all($1)', messages.map((row) => row[1])), '6');       // uuid[]
await value(`SELECT once.send('values', $1, delay => $2)`, { order: 1 }, '10 s');
await value(`SELECT once.send('values', $1, deliver_at => $2)`, { order: 1 }, new Date());
await rows(`SELECT once.send_batch('values', $1, group_ids => $2)`, [{ order: 1 }, JSON.stringify('text')], ['a', null]);
assert.equal(await value(`SELECT once.redrive_ids('values', $1)`, [1, '2']), '0');

// What fails: an array, which is taken for one of PostgreSQL, and a text that is not JSON
await fails('22P02', `SELECT once.send('values', $1)`, [1, 2]);
await fails('22P02', `SELECT once.send('values', $1)`, 'text');
// What is worse: an empty array becomes an empty object, and undefined becomes NULL.
await rows(`SELECT once.pop('values', 100)`);
await value(`SELECT once.send('values', $1)`, []);
await value(`SELECT once.send('values', $1)`, undefined);
assert.deepEqual(await rows(`SELECT payload, payload IS NULL FROM once.pop('values', 10)`), [[{}, false], [null, true]]);
await client.end();
