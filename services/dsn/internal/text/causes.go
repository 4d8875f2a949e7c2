// SPDX-License-Identifier: Apache-2.0

package text

import "github.com/postrider/postrider/kit/smtpreply"

// Advice that several causes share.
const (
	checkAddress = "Check the address for typing errors, above all the part behind the @ sign. If it is right, reach " +
		"the recipient by other means."
	tellRecipient = "You cannot repair this yourself. Reach the recipient by other means and tell them: whoever looks " +
		"after the mail of {domain} has to correct it."
	tellAdmin = "You cannot repair this yourself. Send this notice to your mail administrator."
	tryLater  = "Send the message again later, or reach the recipient by other means."
)

// routeCause explains failures to find the way.
func (s situation) routeCause(reason smtpreply.Reason) cause {
	switch reason {
	case smtpreply.ReasonNullMX:
		return s.because("The domain {domain} has declared that it takes no mail at all.", checkAddress)
	case smtpreply.ReasonNoSuchDomain:
		return s.because("There is no domain named {domain}.", checkAddress)
	case smtpreply.ReasonBadDomain, smtpreply.ReasonBadLiteral:
		return s.because("{domain} is not a valid domain.", checkAddress)
	case smtpreply.ReasonNoAddress, smtpreply.ReasonMXNoAddress, smtpreply.ReasonMXInvalid,
		smtpreply.ReasonSpecialAddress:
		return s.because("The domain {domain} exists, but it names no mail server that can be reached.",
			"Check the address for typing errors. If it is right, whoever looks after {domain} has to correct its "+
				"entries in the domain name system (DNS).")
	case smtpreply.ReasonDNSTemp, smtpreply.ReasonDNSTCPBlocked, smtpreply.ReasonDNSTCPUnavailable,
		smtpreply.ReasonCNAMELoop, smtpreply.ReasonTLSALookup:
		return s.because("It could not be found out which mail server takes the mail for {domain}: the domain name "+
			"system (DNS) gave no usable answer.", tryLater)
	case smtpreply.ReasonDNSBogus:
		return s.because("It could not be found out which mail server takes the mail for {domain}: the answers of the "+
			"domain name system (DNS) did not pass their security check.", tellRecipient)
	case smtpreply.ReasonResolverUnavailable:
		return s.because("It could not be found out which mail server takes the mail for {domain}, because a part of "+
			"this mail system was not available.", tellAdmin)
	case smtpreply.ReasonMXSelf, smtpreply.ReasonSelfSession:
		return s.because("The domain {domain} names this mail system as its mail server, but there are no mailboxes for "+
			"it here. The message would have gone in a circle.", tellRecipient)
	case smtpreply.ReasonHops, smtpreply.ReasonOwnTrace, smtpreply.ReasonFingerprint:
		return s.because("The message was going in a circle between mail systems and was stopped.",
			"Most often a forwarding is set up wrongly on the recipient's side. Reach the recipient by other means and "+
				"tell them.")
	}
	return cause{}
}

// tlsCause explains connections that were not secure enough.
func (s situation) tlsCause(reason smtpreply.Reason) cause {
	switch reason {
	case smtpreply.ReasonMTASTSMismatch, smtpreply.ReasonTLSNotOffered, smtpreply.ReasonTLSFailed,
		smtpreply.ReasonTLSInjection:
		return s.because("Mail for {domain} must be handed over through a secure connection, and none could be set up. "+
			"Either the mail server there is set up wrongly, or somebody tampers with the connection.", tellRecipient)
	case smtpreply.ReasonRequireTLSPolicy, smtpreply.ReasonRequireTLSKeyword:
		return s.because("You asked that the message travels only through protected connections all the way, and the "+
			"mail system of {domain} does not promise that.",
			"If the message may travel with ordinary protection, send it again without this demand. Otherwise reach "+
				"the recipient by other means.")
	case smtpreply.ReasonAuth, smtpreply.ReasonAuthMechanism:
		return s.because("The mail server through which this mail system has to send did not accept its credentials.",
			tellAdmin)
	}
	return cause{}
}

// sessionCause explains sessions that came to nothing.
func (s situation) sessionCause(reason smtpreply.Reason) cause {
	switch reason {
	case smtpreply.ReasonConnect, smtpreply.ReasonSiteDown:
		return s.because("No mail server of {domain} could be reached.", tryLater)
	case smtpreply.ReasonNoLocalRoute:
		return s.because("This mail system has no network path to the mail servers of {domain}.", tellAdmin)
	case smtpreply.ReasonNoGreeting:
		return s.because("The mail server of {domain} accepted the connection and then stayed silent.", tryLater)
	case smtpreply.ReasonGreetingRefused:
		return s.because("The mail server of {domain} refused to take mail from this mail system.",
			"Reach the recipient by other means, and send this notice to your mail administrator.")
	case smtpreply.ReasonTimeout:
		return s.because("The mail server of {domain} stopped answering before it had taken the message.", tryLater)
	case smtpreply.ReasonConnectionLost:
		return s.because("The connection to the mail server of {domain} broke before it had taken the message.", tryLater)
	case smtpreply.ReasonProtocol:
		return s.because("The mail server of {domain} did not keep to the rules by which mail systems talk to each other.",
			tellRecipient)
	case smtpreply.ReasonAmbiguous:
		return s.because("The message was handed over whole, but the mail server of {domain} never confirmed that it had "+
			"taken it. It may have been delivered.",
			"Ask the recipient whether the message has arrived before you send it again.")
	case smtpreply.ReasonConnectionLimit, smtpreply.ReasonTooManyRecipients:
		return s.because("The mail system of {domain} takes only so much mail at a time, and this message had to wait.",
			tryLater)
	}
	return cause{}
}

// contentCause explains messages that no host of the destination can take.
func (s situation) contentCause(reason smtpreply.Reason) cause {
	switch reason {
	case smtpreply.ReasonSize:
		return s.because("The message is larger than the mail system of {domain} takes.", makeSmaller)
	case smtpreply.ReasonMailboxSize:
		return s.because("The message is larger than this mailbox takes.", makeSmaller)
	case smtpreply.ReasonEightBit, smtpreply.ReasonLongLine, smtpreply.ReasonBinary:
		return s.because("The message is written in a form that the mail system of {domain} cannot take.",
			"Send the text as plain text, or put the content into an attachment, and send the message again.")
	case smtpreply.ReasonSMTPUTF8:
		return s.because("An address or the header of the message has letters that the mail system of {domain} cannot "+
			"handle.", "Use an address of the recipient, and one of your own, that has only the letters a to z.")
	}
	return cause{}
}

const makeSmaller = "Remove attachments or make them smaller, or put the files somewhere to be fetched and send a link."

// queueCause explains what happened in this mail system.
func (s situation) queueCause(reason smtpreply.Reason) cause {
	switch reason {
	case smtpreply.ReasonCancelled:
		return s.because("The message was taken back before it was delivered.",
			"If you did not ask for that, ask your mail administrator.")
	case smtpreply.ReasonHeld, smtpreply.ReasonSuspended:
		return s.because("The operators of this mail system have set the message aside.",
			"Ask your mail administrator what it waits for.")
	case smtpreply.ReasonUndecodable, smtpreply.ReasonBodyMissing, smtpreply.ReasonInternal, smtpreply.ReasonShutdown:
		return s.because("A fault in this mail system stopped the message.",
			"Send this notice to your mail administrator, and send the message again.")
	}
	return cause{}
}
