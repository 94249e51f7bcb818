// Package report writes what a proof found: as text for people, with each packet's way drawn hop by hop, as JSON for
// programs, as JUnit for CI, as a page for a
// browser, as a capture for Wireshark. It decides nothing and reads no clock; what it writes depends on the Report alone.
package report
