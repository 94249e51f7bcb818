package xt

import (
	"errors"
	"math"

	"natlab/nat/rules"
)

// IdleTimer is -j IDLETIMER: user space is told when nothing has come to it for a while (xt_IDLETIMER.c).
type IdleTimer struct {
	Timeout uint32 // s
	Label   string
	Alarm   bool // it goes off while the machine sleeps
}

// idleLabelSize is MAX_IDLETIMER_LABEL_SIZE.
const idleLabelSize = 28

var idleTimerRow = Extension{
	Name: "IDLETIMER", Kind: TargetKind,
	Options:  []Option{{Name: "--timeout", Values: 1}, {Name: "--label", Values: 1}, {Name: "--alarm"}},
	Examples: []string{"--timeout 42 --label foo", "--timeout 60 --label bar --alarm"},
	Parse: func(a *Args) Value {
		var t IdleTimer
		a.Once()
		a.Need("--timeout")
		a.Need("--label")
		for g := range a.Options {
			switch g.Name() {
			case "--timeout":
				t.Timeout = uint32(g.Within(1, math.MaxInt32/1000-1))
			case "--label":
				if t.Label = g.Cut(idleLabelSize - 1); t.Label == "" {
					g.bad(0, "a name")
				}
			case "--alarm":
				t.Alarm = true
			}
		}
		return t
	},
	Listed: func(l *Listing) bool {
		ok := l.Value("timeout:", "--timeout", false) && l.Value("label:", "--label", false)
		l.Flag("alarm", "--alarm")
		return ok
	},
	// struct idletimer_tg_info_v1 { __u32 timeout; char label[28]; __u8 send_nl_msg, timer_type; struct idletimer_tg *timer; };
	// revision 0 has no type.
	Layouts: layouts(
		layout(1, 48,
			func(d []byte, _ *Env) (IdleTimer, bool) {
				return IdleTimer{order.Uint32(d), cString(d[4:32]), d[33]&1 != 0}, d[32] == 0 && d[33] <= 1
			},
			func(t IdleTimer, d []byte, _ *Env) error {
				order.PutUint32(d, t.Timeout)
				d[33] = flagByte(t.Alarm)
				return putString(d[4:32], t.Label)
			}).since(Version{1, 8, 5}),
		layout(0, 40,
			func(d []byte, _ *Env) (IdleTimer, bool) {
				return IdleTimer{Timeout: order.Uint32(d), Label: cString(d[4:32])}, true
			},
			func(t IdleTimer, d []byte, _ *Env) error {
				if t.Alarm {
					return errors.New("--alarm needs revision 1 of IDLETIMER")
				}
				order.PutUint32(d, t.Timeout)
				return putString(d[4:32], t.Label)
			}),
	),
}

// Name is "IDLETIMER".
func (IdleTimer) Name() string { return "IDLETIMER" }

// Save prints the time and the label.
func (t IdleTimer) Save(p *Printer) {
	p.Textf(" --timeout %d --label %s", t.Timeout, t.Label)
	p.Flag(t.Alarm, "--alarm")
}

// List prints the same as iptables -L does.
func (t IdleTimer) List(p *Printer) {
	p.Textf(" timeout:%d label:%s", t.Timeout, t.Label)
	p.Flag(t.Alarm, "alarm")
}

// Act goes on.
func (IdleTimer) Act(*rules.Visit) rules.Action { return rules.Continue() }
