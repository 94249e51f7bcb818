package nat

import "fmt"

// Verdict is what a rule, a chain or a hook does to a packet. The zero value lets it go on.
type Verdict uint8

// The verdicts. Accept, Drop, Reject, Queue and Stolen end the walk of one hook; Return, Jump and Goto steer it.
const (
	Continue Verdict = iota // XT_CONTINUE: the next rule
	Accept                  // NF_ACCEPT
	Drop                    // NF_DROP
	Reject                  // NF_DROP after an ICMP error or RST was sent (ipt_REJECT)
	Return                  // XT_RETURN: back to the calling chain
	Jump                    // into a user chain, to come back
	Goto                    // into a user chain, not to come back here
	Queue                   // NF_QUEUE
	Stolen                  // NF_STOLEN: delivered or answered elsewhere
)

var verdictNames = [...]string{"continue", "accept", "drop", "reject", "return", "jump", "goto", "queue", "stolen"}

func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return fmt.Sprintf("verdict(%d)", uint8(v))
}

// MarshalText makes a verdict its name in JSON.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (v *Verdict) UnmarshalText(b []byte) error {
	for i, name := range verdictNames {
		if name == string(b) {
			*v = Verdict(i)
			return nil
		}
	}
	return fmt.Errorf("verdict %q is not known", b)
}
