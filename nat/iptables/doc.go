// Package iptables holds rule sets as data: what iptables-save prints, parsed into typed matches and targets and
// printed back, and the evaluation of a packet against them. It reads no kernel.
package iptables
