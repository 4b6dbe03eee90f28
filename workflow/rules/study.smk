# What each step of the line of work is worth: the tables behind the target 'ablation'.


rule study:
    input:
        unpack(plan.study_inputs),
    output:
        f"{BASE}/ablation/manifest.json",
        report(
            f"{BASE}/ablation/ablation.md",
            caption="../report/ablation.rst",
            category="Results",
        ),
        f"{BASE}/ablation/ablation.csv",
    log:
        "logs/{dataset}/ablation.log",
    benchmark:
        "logs/{dataset}/ablation.tsv"
    conda:
        "../../envs/environment.yml"
    threads: 1
    resources:
        mem_mb=NEEDS["study"].memory,
        runtime=NEEDS["study"].minutes,
    params:
        layout=plan.study_layout,
        code=plan.code("study"),
        run=plan.program("study"),
        inputs=plan.study_flags,
        out=plan.out,
        tee=plan.tee,
    message:
        "Tables of the ablation study ({wildcards.dataset})"
    shell:
        "{params.run} {params.inputs} --layout {params.layout:q}"
        " --out {params.out:q} --state {params.out:q} 2>&1 | {params.tee} {log:q}"
