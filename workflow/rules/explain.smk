# Explanations of classifiers, measured and pictured: their own target, 'explain'.


rule explanation:
    input:
        unpack(scatter.inputs("explanation")),
    output:
        f"{RUN}/explanations/{{name}}/manifest.json",
        f"{RUN}/explanations/{{name}}/metrics.json",
    log:
        "logs/{dataset}/s{seed}/explanations/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/explanations/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("explanation"),
    conda:
        "../../envs/environment.yml"
    threads: GPU_CORES
    resources:
        gpu=scatter.gpus,
        mem_mb=scatter.memory("explanation"),
        runtime=NEEDS["explanation"].minutes,
    params:
        settings=plan.settings("explanation"),
        code=plan.code("explanation"),
        run=plan.program("explanation"),
        inputs=scatter.flags("explanation"),
        out=scatter.out,
        state=scatter.state,
        tee=plan.tee,
    message:
        "Explanations {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"


use rule explanation as explanation_shard with:
    output:
        f"{RUN}/explanations/{{name}}/parts/{{part}}-of-{{parts}}.json",
    log:
        "logs/{dataset}/s{seed}/explanations/{name}/{part}-of-{parts}.log",
    benchmark:
        "logs/{dataset}/s{seed}/explanations/{name}/{part}-of-{parts}.tsv"
    message:
        "Explanations {wildcards.name}, shard {wildcards.part}/{wildcards.parts} ({wildcards.dataset}, seed {wildcards.seed})"


rule explanations:
    input:
        unpack(plan.explanation_inputs),
    output:
        f"{BASE}/explanations/manifest.json",
        report(
            f"{BASE}/explanations/explanations.md",
            caption="../report/explanations.rst",
            category="Results",
        ),
        f"{BASE}/explanations/explanations.csv",
        directory(f"{BASE}/explanations/pictures"),
    log:
        "logs/{dataset}/explanations.log",
    benchmark:
        "logs/{dataset}/explanations.tsv"
    conda:
        "../../envs/environment.yml"
    threads: 1
    resources:
        mem_mb=NEEDS["explanations"].memory,
        runtime=NEEDS["explanations"].minutes,
    params:
        code=plan.code("explanations"),
        run=plan.program("explanations"),
        inputs=plan.explanation_flags,
        out=plan.out,
        tee=plan.tee,
    message:
        "Table of the explanations ({wildcards.dataset})"
    shell:
        "{params.run} {params.inputs} --out {params.out:q} --state {params.out:q} 2>&1 | {params.tee} {log:q}"
