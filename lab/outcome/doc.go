// Package outcome asks flows in a running lab and tells how each ended, as its client saw it. It predicts nothing, watches no packet and judges
// nothing.
package outcome
