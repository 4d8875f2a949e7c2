// SPDX-License-Identifier: Apache-2.0

package text

import "github.com/postrider/postrider/kit/smtpreply"

// statusCause explains the enhanced status (RFC 3463, section 3; the registry of RFC 5248). Detail 0 says too little
// and is left to replyCause.
func (s situation) statusCause() cause {
	switch s.status.Subject {
	case 1:
		return s.addressStatus()
	case 2:
		return s.mailboxStatus()
	case 3, 4:
		return s.systemStatus()
	case 6:
		return s.contentStatus()
	case 7:
		return s.policyStatus()
	}
	return cause{}
}

func (s situation) addressStatus() cause {
	switch s.status.Detail {
	case 1:
		return s.because("The mail system of {domain} knows no mailbox with this address.",
			"Check the address for typing errors. If it is right, ask the recipient by other means whether the mailbox "+
				"still exists.")
	case 2:
		return s.because("There is no domain named {domain}, or it takes no mail.", checkAddress)
	case 3:
		return s.because("The mail system of {domain} says that this is not a valid address.", checkAddress)
	case 4:
		return s.because("The mail system of {domain} says that this address fits more than one mailbox.",
			"Ask the recipient for the exact address.")
	case 6:
		return s.because("The mailbox has moved, and the mail system of {domain} does not know where.",
			"Ask the recipient for the new address.")
	case 7, 8:
		return s.because("The mail system of {domain} does not accept your own address as sender.",
			"Check the sender address in your mail program, or send this notice to your mail administrator.")
	case 10:
		return s.because("The domain {domain} has declared that it takes no mail at all.", checkAddress)
	}
	return cause{}
}

func (s situation) mailboxStatus() cause {
	switch s.status.Detail {
	case 1:
		return s.because("This mailbox is switched off and takes no messages.",
			"Ask the recipient by other means for an address that is in use.")
	case 2:
		return s.because("The recipient's mailbox is full.",
			"Reach the recipient by other means and tell them. Send the message again when there is room.")
	case 3:
		return s.because("The message is larger than this mailbox takes.", makeSmaller)
	case 4:
		return s.because("The address is a mailing list that could not be resolved.", tellRecipient)
	}
	return cause{}
}

func (s situation) systemStatus() cause {
	full := s.because("The mail system of {domain} has no room for further mail.", tryLater)
	if s.status.Subject == 3 {
		switch s.status.Detail {
		case 1:
			return full
		case 2:
			return s.because("The mail system of {domain} takes no mail at present.", tryLater)
		case 4:
			return s.because("The message is larger than the mail system of {domain} takes.", makeSmaller)
		}
		return cause{}
	}
	switch s.status.Detail {
	case 1:
		if s.reply.Code != 0 {
			break // Some hosts say x.4.1 for an address they do not want; replyCause knows more.
		}
		return s.because("No mail server of {domain} could be reached.", tryLater)
	case 3, 4:
		return s.because("The domain name system (DNS) gave no usable answer for {domain}.", tryLater)
	case 6:
		return s.because("The message was going in a circle between mail systems and was stopped.", tellRecipient)
	}
	return cause{}
}

func (s situation) contentStatus() cause {
	switch s.status.Detail {
	case 1, 2, 3, 5:
		return s.because("The message is written in a form that the mail system of {domain} does not take.",
			"Send the text as plain text, or put the content into an attachment, and send the message again.")
	case 7:
		return s.contentCause(smtpreply.ReasonSMTPUTF8)
	}
	return cause{}
}

// policyStatus explains refusals by rule. Class 4 is mostly a host that wants to see whether we come back.
func (s situation) policyStatus() cause {
	if s.status.Class == 4 {
		return s.because("The mail system of {domain} does not take the message for the time being. Often this is a "+
			"protection against unwanted mail that ends by itself.", tryLater)
	}
	switch s.status.Detail {
	case 2:
		return s.because("The address is a mailing list to which you may not send.",
			"Ask whoever looks after the list whether you may send to it.")
	case 10, 30:
		return s.tlsCause(smtpreply.ReasonRequireTLSPolicy)
	case 20, 21, 22, 23, 24, 25, 26, 27:
		return s.because("The mail system of {domain} could not make sure that the message really comes from your domain.",
			"Send this notice to your mail administrator: the entries that prove where your mail comes from (SPF, DKIM, "+
				"DMARC, reverse DNS) need a look.")
	}
	return s.because("The mail system of {domain} refused the message under its rules.",
		"Its answer may say which rule it was. Reach the recipient by other means, and send this notice to your mail "+
			"administrator if it happens again.")
}

// replyCause explains a reply by its code and by what it answered, when its enhanced code says nothing (RFC 5321,
// section 4.2.3).
func (s situation) replyCause() cause {
	switch {
	case s.reply.Code == 0:
		return cause{}
	case s.reply.Transient():
		return s.because("The mail system of {domain} did not take the message and asked to try again later.", tryLater)
	case !s.reply.Permanent():
		return cause{}
	}
	switch s.failure.Stage {
	case smtpreply.StageRcpt:
		if s.reply.Code == 552 {
			return s.because("The recipient's mailbox is full, or the message is too large for it.",
				"Reach the recipient by other means and tell them, or send a smaller message.")
		}
		return s.because("The mail system of {domain} refused this recipient. Most often that means that there is no such "+
			"mailbox.", "Check the address for typing errors. If it is right, ask the recipient by other means whether "+
			"the mailbox still exists.")
	case smtpreply.StageMail:
		return s.because("The mail system of {domain} refused mail from your address.",
			"Check the sender address in your mail program, or send this notice to your mail administrator.")
	case smtpreply.StageData, smtpreply.StageContent, smtpreply.StageDot:
		if s.reply.Code == 552 {
			return s.because("The message is larger than the mail system of {domain} takes.", makeSmaller)
		}
		return s.because("The mail system of {domain} looked at the message and refused it.",
			"Its answer may say why. Often a part of the text, a link or an attachment was taken for unwanted mail: "+
				"change it and send the message again.")
	}
	return s.because("The mail system of {domain} refused the message.", "Its answer may say why. Otherwise reach the "+
		"recipient by other means, and send this notice to your mail administrator.")
}

// stageCause explains a failure without reply and reason by how far the attempt came.
func (s situation) stageCause() cause {
	switch s.failure.Stage {
	case smtpreply.StageResolve:
		return s.routeCause(smtpreply.ReasonDNSTemp)
	case smtpreply.StageConnect:
		return s.sessionCause(smtpreply.ReasonConnect)
	case smtpreply.StageGreeting:
		return s.sessionCause(smtpreply.ReasonNoGreeting)
	case smtpreply.StageStartTLS, smtpreply.StageTLS:
		return s.tlsCause(smtpreply.ReasonTLSFailed)
	case smtpreply.StageAuth:
		return s.tlsCause(smtpreply.ReasonAuth)
	case smtpreply.StageDot:
		return s.sessionCause(smtpreply.ReasonAmbiguous)
	case smtpreply.StageEhlo, smtpreply.StageHelo, smtpreply.StageMail, smtpreply.StageRcpt, smtpreply.StageData,
		smtpreply.StageContent, smtpreply.StageRset:
		return s.sessionCause(smtpreply.ReasonConnectionLost)
	}
	return cause{}
}
