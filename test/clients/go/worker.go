// A worker with database/sql and lib/pq: takes orders from a queue and ships them.
//
//	worker QUEUE
//
// PGHOST, PGDATABASE and the other variables of libpq say where the database is.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/lib/pq"
)

const concurrency = 4

const receiveSQL = `SELECT receipt, payload FROM once.receive($1, 10, wait => '30 s')`

type message struct {
	receipt string
	payload []byte
}

// work does the work for one message.  What it writes commits together with the ack.
func work(tx *sql.Tx, payload []byte) error {
	var order struct {
		Number *int `json:"order"`
	}
	if err := json.Unmarshal(payload, &order); err != nil {
		return err
	}
	_, err := tx.Exec("INSERT INTO shipment (order_no) VALUES ($1)", order.Number)
	return err
}

// worker handles messages until stop is done.  db connects again by itself.
func worker(stop context.Context, db *sql.DB, queue string) {
	for stop.Err() == nil {
		err := handleBatch(stop, db, queue)
		if err != nil && stop.Err() == nil {
			// What was received has been given back by the rollback.
			log.Print("trying again: ", err)
			select {
			case <-stop.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

func handleBatch(stop context.Context, db *sql.DB, queue string) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after the commit

	messages, err := receive(stop, tx, queue)
	if err != nil {
		return err
	}
	for _, m := range messages {
		if err := handle(tx, m); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// receive waits for messages.  When stop is done, the driver cancels the statement.
func receive(stop context.Context, tx *sql.Tx, queue string) ([]message, error) {
	rows, err := tx.QueryContext(stop, receiveSQL, queue)
	if err != nil {
		return nil, err
	}
	defer rows.Close()

	var messages []message
	for rows.Next() {
		var m message
		if err := rows.Scan(&m.receipt, &m.payload); err != nil {
			return nil, err
		}
		messages = append(messages, m)
	}
	return messages, rows.Err()
}

// handle acknowledges one message and does its work, or gives it back.  It returns an error if the transaction cannot go on.
func handle(tx *sql.Tx, m message) error {
	if _, err := tx.Exec("SAVEPOINT message"); err != nil {
		return err
	}
	_, err := tx.Exec("SELECT once.ack($1)", m.receipt)
	if err == nil {
		err = work(tx, m.payload)
	}
	if err != nil {
		if _, err := tx.Exec("ROLLBACK TO SAVEPOINT message"); err != nil {
			return err
		}
		if err := giveBack(tx, m.receipt, err); err != nil {
			return err
		}
	}
	_, err = tx.Exec("RELEASE SAVEPOINT message")
	return err
}

func giveBack(tx *sql.Tx, receipt string, reason error) error {
	var pqError *pq.Error
	var sqlstate pq.ErrorCode
	if errors.As(reason, &pqError) {
		sqlstate = pqError.Code
	}

	var err error
	switch sqlstate {
	case "40001", "40P01":
		// Not the message's fault: it is delivered again at once, and no attempt counts.
		_, err = tx.Exec("SELECT once.release($1)", receipt)
	case "ON003":
		// The message went back with an earlier one of its group.
	default:
		_, err = tx.Exec("SELECT once.nack($1, error => $2)", receipt, reason.Error())
	}
	return err
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: worker QUEUE")
		os.Exit(2)
	}
	stop, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	db, err := sql.Open("postgres", "") // everything comes from the environment
	if err != nil {
		log.Fatal(err)
	}
	db.SetMaxIdleConns(concurrency)

	var workers sync.WaitGroup
	for i := 0; i < concurrency; i++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			worker(stop, db, os.Args[1])
		}()
	}
	workers.Wait()
	// Let the driver end its requests to cancel: PgBouncer 1.18 can crash if it loses one half-way.
	time.Sleep(100 * time.Millisecond)
}
