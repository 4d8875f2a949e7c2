// SPDX-License-Identifier: Apache-2.0

// Package containers holds deploy/ against what it promises: the images and compose.yaml are started as a user does,
// with a real NATS, a real Jaeger and the demo's misbehaving hosts, and spoken to from outside the compose network.
// `make e2e-containers` runs it; it needs a Docker engine, so its tests have the build tag containers.
package containers
