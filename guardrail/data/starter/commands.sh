#!/bin/sh
# From a model to a policy with a bounded error rate. Runs as it stands, offline, on the embedded model: sh commands.sh
#
# A calibrator takes at least 30 questions, and a few hundred give probabilities to rely on. questions.jsonl holds a dozen
# placeholders, so the bundled questions stand in for it here. With questions of your own in questions.jsonl:
#   guardrail data split questions.jsonl -o parts
# then change the lines below: MODEL, CALIBRATION=parts/calibration.jsonl, TUNING=parts/tune.jsonl, TEST=parts/test.jsonl.
set -eu

MODEL=smollm2-135m   # alias, folder, .gguf file or hub id
CALIBRATION=bundled  # questions with answers that count as right
TUNING=bundled       # others of the same kind (of 'bundled', the held-out half)
TEST=questions.jsonl # others again
LIMIT=100            # questions to use of the first two: enough for a trial of a few minutes; use all of your own
MAX_ERROR=0.9        # share of wrong answers among those shown: much, since the embedded model is mostly wrong; yours takes 0.1

# 1. Is everything here, and is the policy in order?
guardrail doctor
guardrail policy check policy.yaml

# 2. Ask the questions, grade the answers, and fit score -> probability of being right.
guardrail calibrate "$CALIBRATION" -o calibrator.json --model "$MODEL" --limit "$LIMIT"

# 3. What your policy would do with questions that the calibrator has not seen.
guardrail evaluate "$TEST" -c calibrator.json --model "$MODEL" --policy policy.yaml

# 4. Find the confidence from which at most MAX_ERROR of the answers are wrong, and write it as a policy with its proof.
guardrail tune "$TUNING" -c calibrator.json --model "$MODEL" --limit "$LIMIT" --max-error "$MAX_ERROR" -o tuned.yaml

# 5. Ask, by your own policy and by the tuned one.
guardrail ask "What is the capital of Japan?" -c calibrator.json --model "$MODEL" --policy policy.yaml
guardrail ask "What is the capital of Japan?" -c calibrator.json --model "$MODEL" --policy tuned.yaml
