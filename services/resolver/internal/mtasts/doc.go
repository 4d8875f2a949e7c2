// SPDX-License-Identifier: Apache-2.0

// Package mtasts finds the MTA-STS policy of a recipient domain: RFC 8461.
//
// It owns the TXT record, the policy file and its fetch with all its limits, and the memory of policies: a policy once
// had stays in force until its max_age is over, whatever DNS or the web server say meanwhile, since an attacker can
// silence both. Replicas share what they fetched through a Store. What a policy means for a host is said here as well;
// that DANE comes before it is tlspolicy's.
package mtasts
