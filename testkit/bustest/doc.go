// SPDX-License-Identifier: Apache-2.0

// Package bustest runs a NATS server with JetStream inside the test: the embedded server of the all-in-one process
// (file storage, every write synced, no listener), or with a TCP port like a stand-alone one. The store lies in a
// directory of the test.
//
// A test can take the server away and bring it back on the same store, cleanly ([Server.Stop], [Server.Restart]) or as
// after kill -9 ([Server.Crash]), and hold back what it answers ([Server.HoldReplies]); connections made by the
// package come back by themselves. [StartCluster] runs three servers with replicated streams.
//
// The package knows nothing of the streams that are kept in it.
package bustest
