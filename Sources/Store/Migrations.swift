import GRDB

/// The schema, one migration a version: a migration that was released is never edited.
enum Migrations {
    /// The newest schema that this build reads and writes.
    static let newest = 3
    /// Marks the file as ours; "FLOW".
    static let applicationID: Int32 = 0x464C_4F57

    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("schema 1") { database in
            try database.execute(sql: schema1)
            try database.execute(sql: "PRAGMA application_id = \(applicationID)")
            try database.execute(sql: "PRAGMA user_version = 1")
        }
        migrator.registerMigration("schema 2") { database in
            try database.execute(sql: schema2)
            try database.execute(sql: "PRAGMA user_version = 2")
        }
        migrator.registerMigration("schema 3") { database in
            try database.execute(sql: schema3)
            try database.execute(sql: "PRAGMA user_version = 3")
        }
        return migrator
    }

    /// Instants are ISO 8601 text in UTC with milliseconds; log-likelihoods are in nats.
    ///
    /// Streams are named, not numbered, everywhere: `SELECT … FROM anomalies WHERE stream = 'pump-7'` needs no join.
    private static let schema1 = """
        CREATE TABLE streams (
            name TEXT NOT NULL PRIMARY KEY,
            first_seen_utc TEXT NOT NULL
        );

        CREATE TABLE models (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            stream TEXT NOT NULL REFERENCES streams (name),
            state TEXT NOT NULL CHECK (state IN ('serving', 'retired', 'rejected')),
            reason TEXT NOT NULL,
            family TEXT NOT NULL,
            fitted_at_utc TEXT NOT NULL,
            activated_at_utc TEXT,
            retired_at_utc TEXT,
            record_count INTEGER NOT NULL,
            parameter_count INTEGER NOT NULL,
            held_out_log_likelihood_nats REAL NOT NULL,
            metrics TEXT NOT NULL,
            file TEXT,
            file_bytes INTEGER NOT NULL
        );
        CREATE INDEX models_by_stream ON models (stream, id);
        CREATE UNIQUE INDEX models_one_serving ON models (stream) WHERE state = 'serving';

        CREATE TABLE thresholds (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            stream TEXT NOT NULL REFERENCES streams (name),
            model INTEGER NOT NULL REFERENCES models (id),
            kind TEXT NOT NULL CHECK (kind IN ('calibrated', 'manual')),
            log_likelihood REAL NOT NULL,
            upper_log_likelihood REAL,
            probability REAL NOT NULL,
            valid_from_utc TEXT NOT NULL,
            valid_to_utc TEXT,
            reason TEXT NOT NULL
        );
        CREATE INDEX thresholds_by_stream ON thresholds (stream, id);
        CREATE UNIQUE INDEX thresholds_one_current ON thresholds (stream)
            WHERE valid_to_utc IS NULL;

        CREATE TABLE episodes (
            stream TEXT NOT NULL REFERENCES streams (name),
            sequence INTEGER NOT NULL,
            started_at_utc TEXT NOT NULL,
            last_anomaly_at_utc TEXT NOT NULL,
            is_ended INTEGER NOT NULL,
            peak_at_utc TEXT NOT NULL,
            peak_log_likelihood_nats REAL NOT NULL,
            anomaly_count INTEGER NOT NULL,
            top_features TEXT NOT NULL,
            PRIMARY KEY (stream, sequence)
        );

        CREATE TABLE anomalies (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            stream TEXT NOT NULL REFERENCES streams (name),
            detected_at_utc TEXT NOT NULL,
            record_time TEXT,
            source TEXT NOT NULL,
            source_offset INTEGER NOT NULL,
            log_likelihood REAL NOT NULL,
            threshold REAL NOT NULL,
            p_value REAL NOT NULL,
            tail TEXT NOT NULL,
            reason_code TEXT NOT NULL,
            model INTEGER NOT NULL REFERENCES models (id),
            episode INTEGER,
            reasons TEXT NOT NULL,
            summary TEXT NOT NULL,
            FOREIGN KEY (stream, episode) REFERENCES episodes (stream, sequence)
        );
        CREATE INDEX anomalies_by_stream ON anomalies (stream, id);
        CREATE INDEX anomalies_by_detection ON anomalies (stream, detected_at_utc);

        CREATE TABLE fits (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            stream TEXT NOT NULL REFERENCES streams (name),
            state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'accepted', 'rejected',
                'failed', 'cancelled', 'interrupted')),
            trigger TEXT NOT NULL,
            queued_at_utc TEXT NOT NULL,
            started_at_utc TEXT,
            ended_at_utc TEXT,
            record_count INTEGER,
            model INTEGER REFERENCES models (id),
            held_out_log_likelihood_nats REAL,
            message TEXT
        );
        CREATE INDEX fits_by_stream ON fits (stream, id);

        CREATE TABLE checkpoints (
            stream TEXT NOT NULL PRIMARY KEY REFERENCES streams (name),
            taken_at_utc TEXT NOT NULL,
            source TEXT,
            device INTEGER,
            inode INTEGER,
            prefix_hash TEXT,
            prefix_length_bytes INTEGER,
            source_offset INTEGER,
            line_number INTEGER,
            window_total_records INTEGER NOT NULL,
            records_total INTEGER NOT NULL,
            anomalies_total INTEGER NOT NULL,
            faults_total INTEGER NOT NULL,
            state BLOB NOT NULL
        );
        """

    /// What people say of anomalies, and which records of the training window these are.
    private static let schema2 = """
        ALTER TABLE anomalies ADD COLUMN record_number INTEGER;
        CREATE INDEX anomalies_by_episode ON anomalies (stream, episode);

        CREATE TABLE labels (
            anomaly INTEGER NOT NULL PRIMARY KEY REFERENCES anomalies (id),
            label TEXT NOT NULL CHECK (label IN ('false-alarm', 'true')),
            note TEXT,
            labelled_at_utc TEXT NOT NULL
        );
        """

    /// When the file of a position had been written last, and where a stream goes on in each of several files: by device
    /// and inode, because a file keeps these when it is renamed.
    private static let schema3 = """
        ALTER TABLE checkpoints ADD COLUMN source_modified_ns INTEGER;

        CREATE TABLE source_files (
            stream TEXT NOT NULL REFERENCES streams (name),
            source TEXT NOT NULL,
            device INTEGER NOT NULL,
            inode INTEGER NOT NULL,
            prefix_hash TEXT NOT NULL,
            prefix_length_bytes INTEGER NOT NULL,
            source_offset INTEGER NOT NULL,
            line_number INTEGER NOT NULL,
            source_modified_ns INTEGER,
            PRIMARY KEY (stream, device, inode)
        );
        """
}
