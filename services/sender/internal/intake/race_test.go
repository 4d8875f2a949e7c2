// SPDX-License-Identifier: Apache-2.0

//go:build race

package intake

// underRace says that the race detector watches. A model is one goroutine: there it only takes ten times as long.
const underRace = true
