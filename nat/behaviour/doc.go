// Package behaviour is a NAT other than Linux's: what it maps to what, whom it lets in and which ports it gives, in the terms of RFC 4787, RFC
// 5382 and RFC 5508. It decides for packets that open a connection; which connections there are and what is done to their packets is nat/conntrack's.
package behaviour
