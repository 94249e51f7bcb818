// Package iptables holds rule sets as data: what iptables-save prints, parsed into typed matches and targets and
// printed back, and the evaluation of a packet against them. Parse reads input for iptables-restore, Read what people keep
// and post. It reads no kernel.
package iptables
