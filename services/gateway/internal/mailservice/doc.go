// SPDX-License-Identifier: Apache-2.0

// Package mailservice is gateway.v1.MailService on the wire: it turns calls and streams into submissions and questions,
// and bounds what one call may hold. It decides nothing about mail; that is for the packages submit and statusview.
package mailservice
