// SPDX-License-Identifier: Apache-2.0

// Package mxlookup finds the mail exchangers of a domain and their addresses: RFC 5321, section 5.1, the null MX of
// RFC 7505, alias chains, and what of an MX record is no host name.
//
// It owns what an answer means for mail. In which order hosts are tried, which addresses are allowed, and which hosts
// are ourselves is decided in route.
package mxlookup
