#!/usr/bin/env ruby
# A worker with "pg": takes orders from a queue and ships them.
#
#     worker.rb QUEUE
#
# PGHOST, PGDATABASE and the other variables of libpq say where the database is.

require "json"
require "pg"

QUEUE = ARGV.fetch(0)
CONCURRENCY = 4

RECEIVE = "SELECT receipt, payload FROM once.receive($1, 10, wait => '30 s')"

# The work for one message.  What it writes commits together with the ack.
def work(connection, payload)
  order = JSON.parse(payload)
  connection.exec_params("INSERT INTO shipment (order_no) VALUES ($1)", [order.fetch("order")])
end

class Worker
  def initialize(stopping)
    @stopping = stopping
    @thread = Thread.new { run until @stopping.call }
  end

  # Without a connection, wait for a second and try again.
  def run
    @connection = PG.connect
    handle_batch until @stopping.call
  rescue PG::Error => error
    # What was received has been given back by the rollback.
    unless @stopping.call
      warn "connecting again: #{error.message}"
      sleep 1
    end
  ensure
    @connection&.close
    @connection = nil
  end

  def handle_batch
    @connection.transaction do
      receive.each do |message|
        handle(message["receipt"], message["payload"])
      end
    end
  end

  def receive
    @waiting = true
    @connection.exec_params(RECEIVE, [QUEUE])
  ensure
    @waiting = false
  end

  def handle(receipt, payload)
    @connection.exec("SAVEPOINT message")
    begin
      @connection.exec_params("SELECT once.ack($1)", [receipt])
      work(@connection, payload)
    rescue StandardError => error
      @connection.exec("ROLLBACK TO SAVEPOINT message")
      give_back(receipt, error)
    end
    @connection.exec("RELEASE SAVEPOINT message")
  end

  def give_back(receipt, error)
    case error
    when PG::TRSerializationFailure, PG::TRDeadlockDetected
      # Not the message's fault: it is delivered again at once, and no attempt counts.
      @connection.exec_params("SELECT once.release($1)", [receipt])
    else
      # ON003: the message went back with an earlier one of its group.
      return if error.is_a?(PG::Error) && error.result&.error_field(PG::PG_DIAG_SQLSTATE) == "ON003"

      @connection.exec_params("SELECT once.nack($1, error => $2)", [receipt, error.message])
    end
  end

  def running?
    @thread.alive?
  end

  def end_wait
    @connection&.cancel if @waiting
  rescue PG::Error
    nil
  end
end

stopping = false
workers = Array.new(CONCURRENCY) { Worker.new(-> { stopping }) }

# A handler of a signal may do almost nothing, so it only writes into a pipe.
stop, signal = IO.pipe
%w[TERM INT].each { |name| trap(name) { signal.write_nonblock("x") } }
stop.read(1)
stopping = true
# Repeat it, since a cancel that arrives just before the call does nothing.
while workers.any?(&:running?)
  workers.each(&:end_wait)
  sleep 0.1
end
