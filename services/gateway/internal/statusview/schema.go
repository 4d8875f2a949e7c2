// SPDX-License-Identifier: Apache-2.0

package statusview

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver is registered under the name "sqlite"
)

// schemaVersion changes with every change of the tables or of what stands in them; a file of another version is folded
// anew.
const schemaVersion = 3

const schema = `
CREATE TABLE position (
	stream   TEXT PRIMARY KEY,
	created  INTEGER NOT NULL, -- when the stream was made, Unix nanoseconds: another one under its name is another
	sequence INTEGER NOT NULL  -- last sequence folded
) WITHOUT ROWID;
CREATE TABLE reach (
	since INTEGER NOT NULL -- Unix nanoseconds: outcomes stored before may not be folded; 0 when all are
);
INSERT INTO reach (since) VALUES (0);
CREATE TABLE message (
	id          TEXT PRIMARY KEY, -- ULID: in the order of acceptance
	accepted_at INTEGER NOT NULL, -- Unix nanoseconds
	sender      TEXT NOT NULL,
	tenant      TEXT NOT NULL,
	tag         TEXT NOT NULL,
	caller      TEXT NOT NULL,
	parts       INTEGER NOT NULL,
	recipients  INTEGER NOT NULL,
	key_hash    BLOB,
	digest      BLOB,
	facts       BLOB NOT NULL,
	loop        BLOB, -- LoopTrace: what the loop rules decided
	body_ref    TEXT NOT NULL -- place of the content in the body store, empty when there is none or it was deleted
) WITHOUT ROWID;
CREATE INDEX message_body ON message (id) WHERE body_ref <> '';
CREATE INDEX message_key ON message (key_hash) WHERE key_hash IS NOT NULL;
CREATE TABLE part (
	message_id  TEXT NOT NULL,
	number      INTEGER NOT NULL,
	destination TEXT NOT NULL,
	states      INTEGER NOT NULL, -- bit n: a recipient is in state n
	hop         INTEGER NOT NULL,
	next_at     INTEGER NOT NULL, -- Unix nanoseconds, 0 when not known
	done_at     INTEGER NOT NULL, -- Unix nanoseconds, 0 before the end
	waiting     INTEGER NOT NULL, -- recipients that are not final
	results     BLOB NOT NULL,
	history     BLOB,
	PRIMARY KEY (message_id, number)
) WITHOUT ROWID;
CREATE INDEX part_waiting ON part (destination, message_id, waiting) WHERE done_at = 0;
`

// database is the file with one connection to write and several to read.
type database struct {
	path  string
	write *sql.DB
	read  *sql.DB
	// Statements of the fold.
	getMessage, getPart, putMessage, putPart, putPosition *sql.Stmt
}

const (
	getMessage = `SELECT ` + messageColumns + ` FROM message WHERE id = ?`
	getPart    = `SELECT ` + partColumns + ` FROM part WHERE message_id = ? AND number = ?`
	putMessage = `INSERT INTO message (` + messageColumns + `) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)
		ON CONFLICT (id) DO UPDATE SET recipients = excluded.recipients, caller = excluded.caller,
		body_ref = excluded.body_ref, parts = excluded.parts`
	putPart = `INSERT INTO part (` + partColumns + `, states, waiting) VALUES (?,?,?,?,?,?,?,?,?,?)
		ON CONFLICT (message_id, number) DO UPDATE SET destination = excluded.destination, hop = excluded.hop,
		next_at = excluded.next_at, done_at = excluded.done_at, results = excluded.results, history = excluded.history,
		states = excluded.states, waiting = excluded.waiting`
	putPosition = `UPDATE position SET sequence = ? WHERE stream = ?`
)

// openDatabase opens the file. One that is missing, of another version or damaged is made anew, empty.
func openDatabase(ctx context.Context, path string) (*database, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("folder of the status view: %w", err)
	}
	db, err := tryOpen(ctx, path)
	if err == nil {
		return db, nil
	}
	if !errors.Is(err, errOtherFile) {
		return nil, err
	}
	if err := removeDatabase(path); err != nil {
		return nil, err
	}
	return tryOpen(ctx, path)
}

// errOtherFile is a file that is not of this version, or no database at all.
var errOtherFile = errors.New("not a status view of this version")

func tryOpen(ctx context.Context, path string) (*database, error) {
	db := &database{path: path}
	var err error
	if db.write, err = connect(path, false, 1); err != nil {
		return nil, err
	}
	if err := db.prepare(ctx); err != nil {
		db.close()
		return nil, err
	}
	if db.read, err = connect(path, true, 4); err != nil {
		db.close()
		return nil, err
	}
	if err := db.statements(ctx); err != nil {
		db.close()
		return nil, err
	}
	return db, nil
}

// statements prepares what the fold does for each mail.
func (db *database) statements(ctx context.Context) error {
	for query, stmt := range map[string]**sql.Stmt{
		getMessage: &db.getMessage, getPart: &db.getPart, putMessage: &db.putMessage, putPart: &db.putPart, putPosition: &db.putPosition,
	} {
		var err error
		*stmt, err = db.write.PrepareContext(ctx, query)
		if err != nil && ctx.Err() == nil {
			return errors.Join(errOtherFile, err) // a table or column is missing
		}
		if err != nil {
			return fmt.Errorf("open status view: %w", err)
		}
	}
	return nil
}

// connect opens connections. Writes are durable at checkpoints only: what a power cut takes is folded again, since the
// positions are in the same transaction.
func connect(path string, readOnly bool, most int) (*sql.DB, error) {
	q := url.Values{"_pragma": {"journal_mode(wal)", "synchronous(normal)", "busy_timeout(10000)", "cache_size(-16384)", "temp_store(memory)"}}
	if readOnly {
		q.Add("_pragma", "query_only(true)")
	}
	dsn := (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String()
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("open status view: %w", err)
	}
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	return db, nil
}

// prepare checks the version, or makes the tables in an empty file.
func (db *database) prepare(ctx context.Context) error {
	var version, tables int
	err := db.write.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version)
	if err == nil {
		err = db.write.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case damaged(err), err == nil && tables > 0 && version != schemaVersion:
		return errOtherFile
	case err != nil:
		return fmt.Errorf("open status view %s: %w", db.path, err)
	case tables > 0:
		return nil
	}
	_, err = db.write.ExecContext(ctx, schema+fmt.Sprintf("PRAGMA user_version = %d;", schemaVersion))
	if err != nil {
		return fmt.Errorf("make tables of the status view: %w", err)
	}
	return nil
}

// removeDatabase deletes the file with its log.
func removeDatabase(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove status view: %w", err)
		}
	}
	return nil
}

func (db *database) close() {
	for _, pool := range []*sql.DB{db.read, db.write} {
		if pool != nil {
			_ = pool.Close() // nothing in it that the streams do not have
		}
	}
}
