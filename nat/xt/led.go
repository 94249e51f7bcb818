package xt

import (
	"math"
	"strings"

	"natlab/nat/rules"
)

// LED is -j LED: a light goes on (xt_LED.c).
type LED struct {
	ID     string // of the trigger, without "netfilter-"
	Delay  uint32 // milliseconds until it goes off; all ones: it stays on
	Always bool   // it blinks for a packet even if it is on
}

const (
	ledPrefix  = "netfilter-"
	ledID      = 27 // bytes of xt_led_info.id
	ledForever = math.MaxUint32
)

var ledRow = Extension{
	Name: "LED", Kind: TargetKind,
	Options:  []Option{{Name: "--led-trigger-id", Values: 1}, {Name: "--led-delay", Values: 1}, {Name: "--led-always-blink"}},
	Examples: []string{`--led-trigger-id "foo"`, `--led-trigger-id "a \"b\"" --led-delay 42 --led-always-blink`, `--led-trigger-id "x" --led-delay inf`},
	Listed: func(l *Listing) bool {
		if !l.Take("led-trigger-id:") {
			return false
		}
		id, ok := l.Quoted()
		if l.Give("--led-trigger-id", false, id); l.Take("led-delay:") {
			l.Give("--led-delay", false, strings.TrimSuffix(l.Word(), "ms"))
		}
		l.Flag("led-always-blink", "--led-always-blink")
		return ok
	},
	Parse: func(a *Args) Value {
		var t LED
		a.Need("--led-trigger-id")
		a.Once()
		for g := range a.Options {
			switch g.Name() {
			case "--led-trigger-id":
				t.ID = g.TextUpTo(ledID - len(ledPrefix) - 1)
			case "--led-delay":
				if t.Delay = ledForever; !strings.HasPrefix(strings.ToLower(g.Text()), "inf") && g.Text() != "-1" {
					t.Delay = uint32(g.Uint(32))
				}
			case "--led-always-blink":
				t.Always = true
			}
		}
		return t
	},
	// struct xt_led_info { char id[27]; __u8 always_blink; __u32 delay; void *internal_data; }
	Layouts: layouts(layout(0, 40,
		func(d []byte, _ *Env) (LED, bool) {
			id, ok := strings.CutPrefix(cString(d[:ledID]), ledPrefix)
			return LED{id, order.Uint32(d[28:]), d[27] != 0}, ok
		},
		func(t LED, d []byte, _ *Env) error {
			d[27] = flagByte(t.Always)
			order.PutUint32(d[28:], t.Delay)
			return putString(d[:ledID], ledPrefix+t.ID)
		})),
}

// Name is "LED".
func (LED) Name() string { return "LED" }

// id is the trigger in quotes.
func (t LED) id() string { return `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(t.ID) + `"` }

// Save prints the trigger, and what is not usual.
func (t LED) Save(p *Printer) {
	p.Option(false, "--led-trigger-id", t.id())
	if t.Delay == ledForever && p.Exact {
		p.Option(false, "--led-delay", "inf")
	} else if t.Delay != 0 {
		p.Textf(" --led-delay %d", int32(t.Delay)) // -1 for inf, which iptables itself does not take
	}
	p.Flag(t.Always, "--led-always-blink")
}

// List prints the same as iptables -L does.
func (t LED) List(p *Printer) {
	p.Text(" led-trigger-id:", t.id())
	if t.Delay == ledForever {
		p.Text(" led-delay:inf")
	} else {
		p.Textf(" led-delay:%dms", int32(t.Delay))
	}
	p.Flag(t.Always, "led-always-blink")
}

// Act goes on.
func (LED) Act(*rules.Visit) rules.Action { return rules.Continue() }
