// What values become with database/sql and lib/pq, and what does not work
package main

import (
	"database/sql"
	"errors"
	"log"
	"reflect"
	"strings"
	"time"

	"github.com/lib/pq"
)

var db *sql.DB

func check(what string, ok bool) {
	if !ok {
		log.Fatal(what)
	}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// begin begins a transaction.  A statement with parameters is two round trips, and PgBouncer could take another connection for the
// second one, unless it is in a transaction.
func begin() *sql.Tx {
	tx, err := db.Begin()
	must(err)
	return tx
}

func sqlstate(query string, arguments ...interface{}) string {
	var pqError *pq.Error
	tx := begin()
	defer tx.Rollback()
	_, err := tx.Exec(query, arguments...)
	if errors.As(err, &pqError) {
		return string(pqError.Code)
	}
	return ""
}

func main() {
	var err error
	db, err = sql.Open("postgres", "")
	must(err)
	tx := begin()
	for _, payload := range []interface{}{`{"order": 1}`, `null`, nil} {
		_, err = tx.Exec("SELECT once.send('values', $1)", payload)
		must(err)
	}
	must(tx.Commit())

	// What arrives.  JSON is bytes: nil for NULL.
	var receipts []string
	var payloads []string
	rows, err := db.Query("SELECT id, receipt, enqueued_at, leased_until, headers, payload FROM once.lease('values', '1 min', 10)")
	must(err)
	for rows.Next() {
		var id int64
		var receipt string
		var enqueuedAt time.Time
		var leasedUntil sql.NullTime
		var headers, payload []byte
		must(rows.Scan(&id, &receipt, &enqueuedAt, &leasedUntil, &headers, &payload))
		check("times", leasedUntil.Time.After(enqueuedAt) && headers == nil)
		receipts = append(receipts, receipt)
		payloads = append(payloads, string(payload))
	}
	must(rows.Err())
	check("payloads", reflect.DeepEqual(payloads, []string{`{"order": 1}`, `null`, ``}))

	// What is sent
	tx = begin()
	run := func(query string, arguments ...interface{}) {
		_, err := tx.Exec(query, arguments...)
		must(err)
	}
	run("SELECT once.ack_all($1)", pq.Array(receipts)) // uuid[]
	run("SELECT once.send('values', $1, delay => $2)", `1`, "10 s")
	run("SELECT once.send('values', $1)", []byte(`{"order": 1}`))
	run("SELECT once.send('values', $1, deliver_at => $2)", `1`, time.Now())
	run("SELECT once.send_batch('values', $1, group_ids => $2)", pq.Array([]string{`1`, `{"order": 2}`}), pq.Array([]sql.NullString{{String: "a", Valid: true}, {}}))
	run("SELECT once.redrive_ids('values', $1)", pq.Array([]int64{1, 2}))
	must(tx.Commit())

	// What fails: a Duration, which is a number of nanoseconds that PostgreSQL takes for seconds, and slices without pq.Array
	check("duration", sqlstate("SELECT once.send('values', '1', delay => $1)", 10*time.Second) == "22023")
	_, err = db.Exec("SELECT once.ack_all($1)", receipts)
	check("slice", err != nil && strings.Contains(err.Error(), "unsupported type"))
}
