#!/usr/bin/env bash
# AWS CLI: create, wait, put, query with a client-side projection, tag, delete.
set -euo pipefail
expect() { [[ "$1" == "$2" ]] || { echo "expected '$2', got '$1'" >&2; exit 1; }; }

aws dynamodb create-table --table-name shell --billing-mode PAY_PER_REQUEST \
  --attribute-definitions AttributeName=pk,AttributeType=S AttributeName=sk,AttributeType=N \
  --key-schema AttributeName=pk,KeyType=HASH AttributeName=sk,KeyType=RANGE > /dev/null
aws dynamodb wait table-exists --table-name shell
for n in 1 2 3; do
  aws dynamodb put-item --table-name shell --item "{\"pk\": {\"S\": \"a\"}, \"sk\": {\"N\": \"$n\"}, \"v\": {\"N\": \"$((n * n))\"}}"
done
found=$(aws dynamodb query --table-name shell --key-condition-expression 'pk = :p AND sk >= :s' \
  --expression-attribute-values '{":p": {"S": "a"}, ":s": {"N": "2"}}' --query 'Items[].v.N' --output text)
expect "$found" $'4\t9'
expect "$(aws dynamodb scan --table-name shell --page-size 1 --select COUNT --query Count)" 3
arn=$(aws dynamodb describe-table --table-name shell --query Table.TableArn --output text)
aws dynamodb tag-resource --resource-arn "$arn" --tags Key=env,Value=test
expect "$(aws dynamodb list-tags-of-resource --resource-arn "$arn" --query 'Tags[0].Value' --output text)" test
if aws dynamodb get-item --table-name missing --key '{"pk": {"S": "a"}}' 2> error; then exit 1; fi
grep -q ResourceNotFoundException error
aws dynamodb delete-table --table-name shell > /dev/null
aws dynamodb wait table-not-exists --table-name shell
echo ok
