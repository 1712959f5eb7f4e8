#!/usr/bin/env ruby
# What values become with "pg", and what does not work

require "json"
require "pg"

DB = PG.connect

def rows(sql, *parameters)
  DB.exec_params(sql, parameters).values
end

def check(condition)
  raise "this is not so" unless condition
end

def fails(error, sql, *parameters)
  rows(sql, *parameters)
  raise "no error"
rescue error
  nil
end

# What arrives: strings, and nil for NULL
['{"order": 1}', "null", nil].each { |payload| rows("SELECT once.send('values', $1)", payload) }
messages = rows("SELECT id, receipt, enqueued_at, leased_until, headers, payload FROM once.lease('values', '1 min', 10)")
check(messages.map(&:last) == ['{"order": 1}', "null", nil])
check(messages[0][0..3].all?(String) && messages[0][4].nil?)

# What is sent: strings, arrays by an encoder
list = PG::TextEncoder::Array.new
check(rows("SELECT once.ack_all($1)", list.encode(messages.map { |message| message[1] })) == [["3"]])
rows("SELECT once.send('values', $1, delay => $2)", JSON.generate({ order: 1 }), "10 s")
rows("SELECT once.send('values', $1, deliver_at => $2)", "1", Time.now)
rows("SELECT once.send_batch('values', $1, group_ids => $2)", list.encode([JSON.generate({ order: 1 }), "2"]), list.encode(["a", nil]))
check(rows("SELECT once.redrive_ids('values', $1)", list.encode([1, 2])) == [["0"]])

# What is worse: a hash is taken for a description of the parameter, whose value is nil.
rows("SELECT once.pop('values', 100)")
rows("SELECT once.send('values', $1)", { order: 1 })
check(rows("SELECT payload FROM once.pop('values')") == [[nil]])

# What fails: an array without an encoder
fails(PG::InvalidTextRepresentation, "SELECT once.ack_all($1)", [messages[0][1]])

# With type maps, numbers, times and JSON arrive as such, and hashes can be sent.
DB.type_map_for_results = PG::BasicTypeMapForResults.new(DB)
DB.type_map_for_queries = PG::BasicTypeMapForQueries.new(DB)
rows("SELECT once.pop('values', 100)")
rows("SELECT once.send('values', $1)", { order: 1 })
id, receipt, enqueued_at, payload = rows("SELECT id, receipt::text, enqueued_at, payload FROM once.lease('values')")[0]
check(id.is_a?(Integer) && receipt.is_a?(String) && enqueued_at.is_a?(Time) && payload == { "order" => 1 })
check(rows("SELECT once.ack_all($1::uuid[])", [receipt]) == [[1]])
