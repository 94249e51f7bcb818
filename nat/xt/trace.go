package xt

import "natlab/nat/rules"

// Trace is -j TRACE: the kernel reports the rules that the packet meets from here on, and the packet goes on (xt_TRACE.c).
type Trace struct{}

var traceRow = Extension{
	Name: "TRACE", Kind: TargetKind, Tables: []string{"raw"}, Native: true,
	Examples: []string{""},
	Parse:    func(*Args) Value { return Trace{} },
	Layouts: layouts(layout(0, 0,
		func([]byte, *Env) (Trace, bool) { return Trace{}, true },
		func(Trace, []byte, *Env) error { return nil })),
}

// Name is "TRACE".
func (Trace) Name() string { return "TRACE" }

// Save prints no option.
func (Trace) Save(*Printer) {}

// List prints nothing.
func (Trace) List(*Printer) {}

// Act goes on.
func (Trace) Act(*rules.Visit) rules.Action { return rules.Continue() }
