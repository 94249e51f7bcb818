package iptables

import "fmt"

// Note is something that a text leaves open and that natlab had to take one way, or that is unknown for want of it.
type Note struct {
	Line int // of the text, from 1
	Text string
}

// String is the note with its place.
func (n Note) String() string { return fmt.Sprintf("line %d: %s", n.Line, n.Text) }
