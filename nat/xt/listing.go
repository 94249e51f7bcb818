package xt

import (
	"strings"

	"natlab/nat"
)

// Listing is what iptables -L -n prints behind a rule's columns, while it is being read: words that extensions take from
// its beginning.
type Listing struct {
	Family nat.Family
	rest   string
}

// NewListing is a Listing of a text.
func NewListing(text string, f nat.Family) *Listing {
	return &Listing{Family: f, rest: strings.TrimSpace(text)}
}

// Rest is what has not been taken yet.
func (l *Listing) Rest() string { return l.rest }

// Take takes a prefix, with the blanks behind it, if the rest begins with it.
func (l *Listing) Take(prefix string) bool {
	rest, ok := strings.CutPrefix(l.rest, prefix)
	if ok {
		l.rest = strings.TrimLeft(rest, " ")
	}
	return ok
}

// Word takes the next word, "" at the end.
func (l *Listing) Word() string {
	word, rest, _ := strings.Cut(l.rest, " ")
	l.rest = strings.TrimLeft(rest, " ")
	return word
}
